"""`bevel operators`: the list of what runs in integers, and the table of the README that it prints."""

from pathlib import Path
from typing import Any

import pytest

from bevel.calib.errors import UserError
from bevel.tools.command.operators import show_operators

README = Path(__file__).parents[3] / "README.md"


def test_table_of_the_readme_is_what_the_command_prints(capsys: Any) -> None:
    show_operators(None, markdown=True)
    assert capsys.readouterr().out in README.read_text()


def test_list_for_a_target_says_what_becomes_of_the_rest(capsys: Any) -> None:
    show_operators("cortex-m7", markdown=False)
    printed = capsys.readouterr().out
    assert "DepthToSpace" in printed and "refused for cortex-m7" in printed
    show_operators("host", markdown=False)
    assert "float32 on host" in capsys.readouterr().out


def test_unknown_target_is_refused() -> None:
    with pytest.raises(UserError, match="no target 'm7'"):
        show_operators("m7", markdown=False)
