"""Instruction sets hidden from a process: libraries in it find them no more."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bevel.backends import target as targets
from bevel.backends.cpu.levels import known_flags
from bevel.calib.errors import UserError
from bevel.tools.bench import hidden

FOUND = "from numpy._core._multiarray_umath import __cpu_features__ as found; print(found['AVX2'], found['AVX512F'])"
# A handler of one's own would take the faults of CPUID for its own.
HANDLED = "import faulthandler; faulthandler.enable(); "


@pytest.mark.skipif(hidden.FAULTS not in known_flags(), reason="CPUID does not fault on this processor")
@pytest.mark.skipif("avx512f" not in known_flags(), reason="this processor has no AVX-512")
@pytest.mark.parametrize("before", ["", HANDLED])
@pytest.mark.parametrize(("sets", "seen"), [(["avx512"], "True False"), (["amx", "avxvnni"], "True True")])
def test_a_process_sees_what_is_not_hidden(sets: list[str], seen: str, before: str) -> None:
    told = hidden.told_to_library([hidden.SETS[name] for name in sets])
    environment = {**os.environ, **hidden.environment(told)}
    made = subprocess.run([sys.executable, "-c", before + FOUND], env=environment, capture_output=True, text=True)
    assert made.stdout.strip() == seen, made.stderr


@pytest.mark.parametrize(
    ("sets", "left"),
    [
        (["amx"], ["avx512vnni", "avxvnni", "avx2"]),
        (["amx", "avx512"], ["avxvnni", "avx2"]),
        (["avxvnni"], ["amxint8", "avx512vnni", "avx2"]),
        (["amx", "avx512", "avxvnni"], ["avx2"]),
    ],
)
def test_levels_that_need_nothing_hidden_are_left(sets: list[str], left: list[str]) -> None:
    assert list(hidden.left_over(targets.load("host"), [hidden.SETS[name] for name in sets])) == left


def test_an_unknown_set_is_refused() -> None:
    with pytest.raises(UserError, match="--hide sse9: there are amx, avx512, avxvnni"):
        hidden.begin_again("amx,sse9")


def test_a_processor_that_cannot_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hidden, "known_flags", frozenset)
    with pytest.raises(UserError, match="shows no cpuid_fault"):
        hidden.begin_again("amx")
