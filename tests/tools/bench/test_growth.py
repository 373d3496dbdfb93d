"""The script that times the stages on growing chains."""

from click.testing import CliRunner

from bevel.tools.bench import growth


def test_a_chain_has_the_nodes_that_were_asked_for_and_every_stage_is_timed() -> None:
    assert len(growth.chain(8).graph.node) == 8
    done = CliRunner().invoke(growth.command, ["--nodes", "8,16"])
    assert done.exit_code == 0, done.output
    header, first, second = done.output.splitlines()
    assert header.split()[:4] == ["nodes", "load", "canonicalize", "observe"] and header.split()[-1] == "generate"
    assert first.split()[0] == "8" and second.split()[0] == "16"
