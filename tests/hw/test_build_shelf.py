"""`python -m hw.build.shelf`: the table of the boards' document, from builds with stand-ins for the tools."""

import sys

import pytest

from hw.build import design
from hw.build.errors import BuildError
from hw.build.shelf import chosen, main
from tests.hw.small import PACKER, ROUTER, Small, script

TABLE = "| board | configuration |\n| --- | --- |\n| a | 1 |\n\n- a failed: why.\n- b too.\n"
DOCUMENT = f"# Boards\n\n| board | variants |\n\n{TABLE}\nThe end.\n"


def test_builds_and_writes_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(design, "make_top", lambda config, *, baud: Small())
    monkeypatch.setenv("NEXTPNR_ECP5", script(tmp_path / "r", ROUTER.format(python=sys.executable, achieved=24)))
    monkeypatch.setenv("ECPPACK", script(tmp_path / "p", PACKER.format(python=sys.executable)))
    document = tmp_path / "boards.md"
    document.write_text(DOCUMENT)
    run = [":".join(("ulx3s", variant)) for variant in ("85", "12")]
    assert main([*run, "--out", str(tmp_path / "build"), "--doc", str(document)]) == 1
    text = document.read_text()
    assert text.startswith("# Boards\n\n| board | variants |\n\n| board | configuration |")
    assert text.endswith("\n\n- ulx3s 85 misses its clock; its bitstream is not to be used.\n"
                         "- ulx3s 12 misses its clock; its bitstream is not to be used.\n\nThe end.\n")
    assert "\n| ulx3s 85 | small |" in text
    assert "\n| ulx3s 12 | tiny |" in text
    monkeypatch.setenv("ECPPACK", script(tmp_path / "p", "#!/bin/sh\nexit 3\n"))
    assert main(["ulx3s:12", "--out", str(tmp_path / "build"), "--doc", str(document)]) == 1
    assert "\n\n- ulx3s 12 failed: p failed with exit status 3: no output; its output is in " in document.read_text()


def test_refusals_are_one_sentence(tmp_path, capsys):
    assert main(["artie"]) == 1
    assert capsys.readouterr().err.startswith("hw.build.shelf: a board must be one of arty_a7, ")
    with pytest.raises(BuildError, match="not 'ulx3s:7'$"):
        chosen(["ulx3s:7"])
    assert {board.name for board in chosen(["ecpix5"])} == {"ecpix5"}
