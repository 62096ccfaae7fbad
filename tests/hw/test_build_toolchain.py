"""`--toolchain`, with stand-ins for Vivado and for routers that fail."""

import errno
import io
import json
import re
import shutil
import sys

import pytest

from boards import find
from hw.build import design
from hw.build.cli import main
from hw.build.errors import BuildError
from hw.build.flow import Stage
from hw.build.tools import Console
from hw.build.vivado import clocks_of
from hw.build.xc7 import XC7
from tests.hw.small import Small, report_of, script

SUMMARY = """
| Design Timing Summary
    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)      THS(ns)
    -------      -------  ---------------------  -------------------      -------      -------
      {slack}        0.000                      0                  100        {hold}        0.000

| Clock Summary
Clock         Waveform(ns)       Period(ns)      Frequency(MHz)
-----         ------------       ----------      --------------
clk100_0__io  {{0.000 5.000}}      10.000          100.000

| Intra Clock Table
Clock             WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)      THS(ns)
-----             -------      -------  ---------------------  -------------------      -------      -------
clk100_0__io        {slack}        0.000                      0                  100        {hold}        0.000
"""
VIVADO = """#!{python}
import pathlib, sys
assert sys.argv[1:] == ["-mode", "batch", "-log", "top.log", "-source", "top.tcl"]
assert "create_project" in pathlib.Path("top.tcl").read_text() and pathlib.Path("top.xdc").exists()
pathlib.Path("top_timing.rpt").write_text({summary!r})
{bitstream}
"""
BITSTREAM = "pathlib.Path('top.bit').write_text('bits')"


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(design, "make_top", lambda config, *, baud: Small())


@pytest.fixture
def vivado(tmp_path, monkeypatch):
    """Installs a stand-in for Vivado that reports a slack."""
    def install(slack, hold="0.045", bitstream=BITSTREAM):
        text = VIVADO.format(python=sys.executable, summary=SUMMARY.format(slack=slack, hold=hold), bitstream=bitstream)
        monkeypatch.setenv("VIVADO", script(tmp_path / "vivado", text))
    return install


@pytest.mark.parametrize(("slack", "status", "achieved"), [
    ("0.000", 0, 100.0), ("-0.417", 1, 95.99),
])
@pytest.mark.usefixtures("small")
def test_vivado_is_preferred_and_its_timing_believed(tmp_path, vivado, slack, status, achieved):
    vivado(slack)
    out = tmp_path / "out"
    assert main(["--board", "arty_a7", "--clock", "100", "--out", str(out)]) == status
    report = report_of(out)
    assert report["toolchain"] == "vivado"
    [clock] = report["timing"]
    assert (clock["achieved"], clock["required"], clock["met"]) == (achieved, 100, not status)
    assert (out / ("top.timing-missed.bit" if status else "top.bit")).read_text() == "bits"


@pytest.mark.parametrize(("options", "sentence"), [
    ({"slack": "0.1", "hold": "-0.02"}, "clock clk100_0__io misses its hold time by 0.02 ns"),
    ({"slack": "0.1", "bitstream": ""}, "Vivado wrote no bitstream; its output is in "),
    ({"slack": "nothing"}, "route.json of the router has no clock, so no timing is known"),
])
@pytest.mark.usefixtures("small")
def test_what_vivado_leaves_out_is_one_sentence(tmp_path, vivado, capsys, options, sentence):
    vivado(**options)
    assert main(["--board", "arty_a7", "--toolchain", "vivado", "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.startswith(f"hw.build: {sentence}")
    assert report_of(tmp_path / "out")["status"] == "failed"


def test_no_timing_report(tmp_path):
    with pytest.raises(BuildError, match="^Vivado wrote no top_timing.rpt, so no timing is known$"):
        clocks_of(tmp_path / "top_timing.rpt")


@pytest.mark.parametrize(("board", "toolchain", "variable", "sentence"), [
    ("ulx3s", "vivado", "VIVADO",
     "--toolchain vivado builds for Artix-7 only, not for the LFE5U-85F-6BG381C of Radiona ULX3S-85F"),
    ("arty_a7", "vivado", "VIVADO", "--toolchain vivado needs vivado; get it from AMD, and put it in PATH"),
    ("ulx3s", "open", "NEXTPNR_ECP5", "--toolchain open needs nextpnr-ecp5; get it from pip install 'abacus-fpga[hw]'"),
])
@pytest.mark.usefixtures("small")
def test_a_toolchain_that_is_not_here(tmp_path, monkeypatch, capsys, board, toolchain, variable, sentence):
    monkeypatch.setenv(variable, "/nonexistent/tool")
    assert main(["--board", board, "--toolchain", toolchain, "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"hw.build: {sentence}\n"


def test_unknown_toolchain_is_misuse(capsys):
    with pytest.raises(SystemExit) as status:
        main(["--board", "ulx3s", "--toolchain", "magic"])
    assert status.value.code == 2
    assert "invalid choice: 'magic'" in capsys.readouterr().err


@pytest.mark.usefixtures("small")
def test_no_toolchain_stops_after_synthesis(tmp_path, capsys):
    assert main(["--board", "ulx3s", "--toolchain", "none", "--out", str(tmp_path)]) == 0
    assert report_of(tmp_path)["status"] == "synthesised"
    assert "no bitstream" not in capsys.readouterr().out


@pytest.mark.usefixtures("small")
def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch, capsys):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    assert main(["--board", "ulx3s", "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"hw.build: cannot write to {tmp_path}/out: No space left on device\n"
    assert not list((tmp_path / "out").glob("partial*"))
    assert not list((tmp_path / "out").glob("*.bit"))


@pytest.mark.usefixtures("small")
def test_other_seeds_and_another_placer_after_one_that_fails(tmp_path, monkeypatch, capsys):
    router = script(tmp_path / "router", "#!/bin/sh\necho \"$@\" >> ../../calls\necho 'ERROR: no way.'\nexit 1\n")
    monkeypatch.setenv("NEXTPNR_HIMBAECHEL_XILINX", router)
    monkeypatch.setenv("XC7FRAMES2BIT", script(tmp_path / "packer", "#!/bin/sh\n"))
    monkeypatch.setattr("hw.build.xc7.database", lambda: tmp_path)
    assert main(["--board", "arty_a7", "--seed", "7", "--out", str(tmp_path / "out")]) == 1
    calls = [re.search(r"--placer (\w+) --seed (\d+)", line).groups()
             for line in (tmp_path / "calls").read_text().splitlines()]
    assert calls == [("static", "7"), ("static", "8"), ("static", "9"), ("heap", "10")]
    output, errors = capsys.readouterr()
    assert "placer static, seed 7, gave up (router failed with exit status 1: ERROR: no way;" in output
    assert errors.startswith("hw.build: router failed with exit status 1: ERROR: no way; its output is in ")


@pytest.mark.parametrize(("speeds", "kept", "tries"), [
    ([90, 100, None, None], 1, 2), ([90, 70, 95, 80], 2, 4), ([None, 60, None, None], 1, 4)])
def test_attempts_end_with_one_that_meets_the_clock_or_the_fastest_is_kept(tmp_path, monkeypatch, speeds, kept, tries):
    attempts = iter(range(len(speeds)))

    def router(command, *, cwd, log, limit):
        if (speed := speeds[number := next(attempts)]) is None:
            raise BuildError("no way")
        report = {"fmax": {"clk": {"achieved": speed, "constraint": 100}}}
        (cwd / "route.json").write_text(json.dumps(report))
        for name in ("top.fasm", "placed.json"):
            (cwd / name).write_text(f"{name} {number}")

    monkeypatch.setattr("hw.build.xc7.run", router)
    monkeypatch.setattr("hw.build.xc7.require", str)
    monkeypatch.setattr("hw.build.xc7.packed", lambda netlist, output: None)
    stage = Stage(find("arty_a7"), lambda: None, 100_000_000, 1, tmp_path, tmp_path, Console(io.StringIO()))
    [clock] = XC7().route(stage)
    assert clock.achieved == speeds[kept] == max(speed or 0 for speed in speeds)
    assert (tmp_path / "top.fasm").read_text() == f"top.fasm {kept}"
    assert (tmp_path / "placed.json").read_text() == f"placed.json {kept}"
    assert next(attempts, len(speeds)) == tries
