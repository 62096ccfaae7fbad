"""`python -m hw.program` with a stand-in for openFPGALoader."""

import json
import re

import pytest

from hw.program import main, part_in
from tests.hw.small import script

XC7_HEADER = b"\0\x09\x0f\xf0\x0f\xf0\x0f\xf0\x0f\xf0\0\0\x01a\0\x0etop;Generator\0b\0\x10%s\0c\0\x0b"
GOWIN_HEADER = b"1" * 160 + b"\n1010010111000011\n%s\n0001000000000000\n"
ECP5_HEADER = b"\xff\0Part: %s-6CABGA381\0\xff\xff\xbd\xb3"


def folder_of(path, *, board, variant, part, status="routed", name="top.bit"):
    """A build folder as hw.build leaves it, the bitstream cut after its header."""
    (path / "report.json").write_text(json.dumps({"status": status, "board": board, "variant": variant}))
    header = XC7_HEADER if part.startswith(b"xc7") else ECP5_HEADER
    (path / name).write_bytes(header % part)
    return str(path)


@pytest.fixture
def loader(tmp_path, monkeypatch):
    """openFPGALoader that notes its arguments; gives the file with them."""
    (tmp_path / "bin").mkdir()
    noted = tmp_path / "arguments"
    monkeypatch.setenv("OPENFPGALOADER", script(tmp_path / "bin" / "loader", f'#!/bin/sh\necho "$@" > {noted}\n'))
    return noted


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "build").mkdir()
    return tmp_path / "build"


@pytest.mark.parametrize(("board", "variant", "part", "options", "expected"), [
    ("arty_a7", "35", b"xc7a35tcsg324-1", [], "--board arty_a7_35t"),
    ("arty_a7", "100", b"xc7a100tcsg324-1", [], "--board arty_a7_100t"),
    ("ulx3s", "12", b"LFE5U-12F", ["--flash"], "--board ulx3s --write-flash"),
])
def test_loads_what_fits(loader, folder, board, variant, part, options, expected):
    assert main([board, folder_of(folder, board=board, variant=variant, part=part), *options]) == 0
    assert loader.read_text() == f"{expected} {folder}/top.bit\n"


@pytest.mark.parametrize(("arguments", "build", "sentence"), [
    (["artie"], {}, "board must be one of .*, not 'artie'"),
    (["arty_a7", "--variant", "7"], {}, "variant of arty_a7 must be one of 35, 100, not '7'"),
    (["arty_a7", "--variant", "100"], {},
     "DIR/top.bit must be for xc7a100tcsg324-1 on Digilent Arty A7-100T, not for xc7a35tcsg324-1"),
    (["ulx3s"], {}, "DIR/top.bit must be for LFE5U-85F-6BG381C on Radiona ULX3S-85F, not for xc7a35tcsg324-1"),
    (["arty_a7"], {"part": b"xc7a50tcsg324-1"}, "DIR/top.bit must be for xc7a35tcsg324-1 .*, not for xc7a50tcsg324-1"),
    (["arty_a7"], {"part": b"junk"}, "DIR/top.bit must be for xc7a35tcsg324-1 .*, not for an unknown part"),
    (["arty_a7"], {"status": "timing missed", "name": "top.timing-missed.bit"},
     "the bitstream in DIR misses its timing and is not loaded; build a slower configuration"),
    (["arty_a7"], {"status": "failed"}, "DIR has no finished bitstream: its build ended as 'failed'"),
    (["arty_a7"], {"name": "other.bit"}, "DIR has no finished bitstream: its build ended as 'routed'"),
])
def test_refusals_are_one_sentence_and_load_nothing(loader, folder, capsys, arguments, build, sentence):
    path = folder_of(folder, **{"board": "arty_a7", "variant": "35", "part": b"xc7a35tcsg324-1", **build})
    assert main([arguments[0], path, *arguments[1:]]) == 1
    err = capsys.readouterr().err.replace(path, "DIR")
    assert re.fullmatch(f"hw.program: {sentence}\n", err), err
    assert not loader.exists()


@pytest.mark.parametrize(("text", "sentence"), [
    (None, "cannot read DIR/report.json: No such file or directory"),
    ("{", "DIR/report.json is no report of hw.build"),
    ("[]", "DIR/report.json is no report of hw.build"),
    ("{}", "DIR/report.json is no report of hw.build"),
])
def test_no_build_folder(folder, capsys, text, sentence):
    if text is not None:
        (folder / "report.json").write_text(text)
    assert main(["arty_a7", str(folder)]) == 1
    assert capsys.readouterr().err.replace(str(folder), "DIR") == f"hw.program: {sentence}\n"


@pytest.mark.parametrize(("tool", "sentence"), [
    (None, "the tool openFPGALoader was not found; get it from Debian's package openfpgaloader"),
    ("#!/bin/sh\nexit 3\n", "openFPGALoader failed with exit status 3; is the board connected?"),
    ("junk", "openFPGALoader cannot be run: Exec format error"),
])
def test_tool_missing_or_failing(tmp_path, folder, monkeypatch, capsys, tool, sentence):
    path = "/nonexistent/tool" if tool is None else script(tmp_path / "tool", tool)
    monkeypatch.setenv("OPENFPGALOADER", path)
    assert main(["arty_a7", folder_of(folder, board="arty_a7", variant="35", part=b"xc7a35tcsg324-1")]) == 1
    assert capsys.readouterr().err == f"hw.program: {sentence}\n"


def test_part_of_a_header():
    assert part_in(XC7_HEADER % b"xc7a35tcsg324-1") == "xc7a35tcsg324-1"
    assert part_in(ECP5_HEADER % b"LFE5UM5G-85F") == "LFE5UM5G-85F"
    assert part_in(GOWIN_HEADER % f"{0x0600_0000_0000_081B:064b}".encode()) == "GW2A-LV18"
    assert part_in(GOWIN_HEADER % f"{0x0600_0000_1100_481B:064b}".encode()) == "GW1NR-LV9"
    assert part_in(GOWIN_HEADER % f"{0x0600_0000_0000_0001:064b}".encode()) is None
    assert part_in(b"\0" * 600 + b"LFE5U-85F") is None


def test_misuse_is_one_sentence(capsys):
    with pytest.raises(SystemExit) as exit_status:
        main(["arty_a7"])
    assert exit_status.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
