"""Ours against another system's numbers: found by name or by work, divided, averaged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench_cells import OURS
from bevel.backends.program.resources import NOTHING
from bevel.calib.errors import UserError
from bevel.tools.bench import reference

THEIRS = {
    "net": {"macs": 1, "cortex-m4": {"instructions": 2000, "best_instructions": 1000, "flash_bytes": 600}},
    "other": {"macs": 1000, "weights": 7, "cortex-m4": {"instructions": 4000, "arena_bytes": 25}},
}


@pytest.fixture
def networks(tmp_path: Path) -> tuple[reference.Network, ...]:
    path = tmp_path / "theirs.json"
    path.write_text(json.dumps(THEIRS))
    return reference.read(path)


def test_the_best_build_is_compared_with(networks: tuple[reference.Network, ...]) -> None:
    assert reference.ratios([OURS], networks) == [reference.Ratio("net", "net", "cortex-m4", 0.5, 0.5, None)]


def test_a_network_of_another_name_is_known_by_its_multiplications(networks: tuple[reference.Network, ...]) -> None:
    found = reference.ratios([replace(OURS, model="renamed")], networks)
    assert found == [reference.Ratio("renamed", "other", "cortex-m4", 0.125, None, 2.0)]


def test_cores_and_networks_that_the_reference_lacks_have_no_ratio(networks: tuple[reference.Network, ...]) -> None:
    strangers = [replace(OURS, core="cortex-m7"), replace(OURS, model="renamed", network_macs=3)]
    assert reference.ratios(strangers, networks) == []


def test_two_networks_of_equal_work_are_not_guessed_between(networks: tuple[reference.Network, ...]) -> None:
    twins = (*networks, replace(networks[1], name="twin"))
    assert reference.match(replace(OURS, model="renamed"), twins) is None


def test_wrong_outputs_have_no_ratio_of_instructions(networks: tuple[reference.Network, ...]) -> None:
    wrong = replace(OURS, spent=NOTHING, mismatches=3)
    assert reference.ratios([wrong], networks)[0].instructions is None
    assert reference.unmatched([wrong], networks) == [wrong]


def test_means_are_geometric_and_a_core_each() -> None:
    ratios = [
        reference.Ratio("a", "a", "m4", 0.25, None, 1.0),
        reference.Ratio("b", "b", "m4", 1.0, None, None),
        reference.Ratio("b", "b", "m7", 0.5, 2.0, None),
    ]
    first, second = reference.means(ratios)
    assert (first.core, first.instructions, first.flash, first.arena) == ("m4", pytest.approx(0.5), None, 1.0)
    assert (second.core, second.instructions, second.flash) == ("m7", 0.5, 2.0)


@pytest.mark.parametrize("text", ["[1]", "{", '{"net": 3}'])
def test_a_file_of_another_form_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "theirs.json"
    path.write_text(text)
    with pytest.raises(UserError, match="is not a reference"):
        reference.read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.json: No such file"):
        reference.read(tmp_path / "no.json")
