"""`python -m hw.build` from end to end, on a design small enough to route in seconds."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from amaranth.hdl import Fragment

from boards import BOARDS
from hw.arch.config import Config, preset
from hw.build import design
from hw.build.cli import main
from hw.build.cost import estimate, shared
from hw.build.flow import Stage
from hw.build.job import flow_of
from hw.build.report import check_fit
from hw.build.tools import Console
from hw.build.xc7 import database
from hw.program import part_in
from tests.hw.small import PACKER, ROUTER, Small, files_of, report_of, script

ROOT = Path(__file__).parent.parent.parent
@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(design, "make_top", lambda config, *, baud: Small())


@pytest.fixture
def no_xc7(monkeypatch):
    """No place and route for Artix-7, whatever this machine has."""
    for tool in ("NEXTPNR_HIMBAECHEL_XILINX", "XC7FRAMES2BIT"):
        monkeypatch.setenv(tool, "/nonexistent/tool")


@pytest.mark.usefixtures("small")
def test_ecp5_to_a_bitstream(tmp_path, capsys):
    assert main(["--board", "ulx3s", "--out", str(tmp_path)]) == 0
    assert files_of(tmp_path) == [
        "config.json", "logs", "plan.zip", "report.html", "report.json", "route.json", "top.bit", "top.lpf", "top.v",
    ]
    report = report_of(tmp_path)
    assert report["status"] == "routed"
    assert report["bitstream"] == "top.bit"
    assert report["config_digest"] == preset("small").digest.hex()
    assert report["synthesis"]["bram_kbits"] == 18
    assert report["synthesis"]["multipliers"] == 1
    assert report["placed"]["TRELLIS_FF"]["used"] == report["synthesis"]["ffs"]
    assert report["placed"]["TRELLIS_COMB"]["used"] >= report["synthesis"]["luts"]
    [clock] = report["timing"]
    assert clock["required"] == 25  # the LPF's constraint reached the router
    assert clock["achieved"] > 25
    assert clock["met"]
    path = report["slowest_path"]
    assert abs(path["logic_ns"] + path["routing_ns"] - 1e3 / clock["achieved"]) < 0.1
    assert set(report["seconds"]) == {"elaborate", "synthesise", "route", "pack"}
    assert Config.from_json((tmp_path / "config.json").read_text()) == preset("small")
    assert b"LFE5U-85F" in (tmp_path / "top.bit").read_bytes()[:200]
    assert "module top(" in (tmp_path / "top.v").read_text()
    assert "FREQUENCY PORT" in (tmp_path / "top.lpf").read_text()
    out = capsys.readouterr().out
    assert "LUT4" in out
    assert "required 25.00 MHz: met" in out


@pytest.mark.usefixtures("small")
def test_ecp5_through_the_pll(tmp_path):
    assert main(["--board", "ulx3s", "--clock", "50", "--out", str(tmp_path)]) == 0
    report = report_of(tmp_path)
    [clock] = report["timing"]
    assert clock["required"] == 50  # derived by the router from the oscillator's constraint
    assert clock["met"]
    assert report["config"]["clock_hz"] == 50_000_000
    assert report["placed"]["EHXPLLL"]["used"] == 1
    assert "FREQUENCY PORT \"clk25_0__io\" 25000000.0 HZ" in (tmp_path / "top.lpf").read_text()


@pytest.mark.usefixtures("small")
def test_gowin_through_the_pll_to_a_bitstream(tmp_path):
    assert main(["--board", "tang_primer_20k", "--clock", "45", "--out", str(tmp_path)]) == 0
    report = report_of(tmp_path)
    assert report["status"] == "routed"
    assert report["bitstream"] == "top.fs"
    assert {clock["required"] for clock in report["timing"]} == {45}
    assert all(clock["met"] for clock in report["timing"])
    assert report["placed"]["rPLL"]["used"] == 1
    assert report["synthesis"]["multipliers"] == 0
    assert part_in((tmp_path / "top.fs").read_bytes()) == "GW2A-LV18"


@pytest.mark.usefixtures("small", "no_xc7")
def test_artix_without_its_router_stops_after_synthesis_and_says_so(tmp_path, capsys):
    assert main(["--board", "arty_a7", "--out", str(tmp_path), "--json"]) == 0
    assert files_of(tmp_path) == ["config.json", "logs", "plan.zip", "report.html", "report.json", "top.v", "top.xdc"]
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report == report_of(tmp_path)
    assert report["status"] == "synthesised"
    assert "timing" not in report
    assert report["synthesis"]["multipliers"] == 0  # DSP slices are never inferred
    assert report["missing"][:2] == ["nextpnr-himbaechel-xilinx", "xc7frames2bit"]
    assert "no bitstream: nextpnr-himbaechel-xilinx, xc7frames2bit" in err
    assert "\n  get them from python -m hw.tools install xc7\n" in err
    assert "create_clock -period 10.0000 [get_ports {clk100_0__io}]" in (tmp_path / "top.xdc").read_text()
    with zipfile.ZipFile(tmp_path / "plan.zip") as plan:
        assert {"top.v", "top.xdc", "top.tcl", "build_top.sh"} <= set(plan.namelist())
        assert b"create_clock" in plan.read("top.xdc")


@pytest.mark.skipif(database() is None, reason="needs nextpnr-himbaechel-xilinx and prjxray (ABACUS_XC7_PREFIX)")
@pytest.mark.usefixtures("small")
def test_artix_to_a_bitstream_twice_the_same(tmp_path):
    for name in ("a", "b"):
        assert main(["--board", "arty_a7", "--clock", "125", "--out", str(tmp_path / name)]) == 0
    report = report_of(tmp_path / "a")
    assert [clock["required"] for clock in report["timing"]] == [125]  # of the PLL, derived by the router
    assert report["timing"][0]["met"]
    assert report["placed"]["PLLE2_ADV_PLLE2_ADV"]["used"] == 1
    assert "<polyline" in (tmp_path / "a" / "report.html").read_text()
    one, two = ((tmp_path / name / "top.bit").read_bytes() for name in ("a", "b"))
    assert one == two
    assert b"1970/01/01" in one[:128]


@pytest.mark.usefixtures("small")
def test_equal_inputs_are_built_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NEXTPNR_ECP5", script(tmp_path / "r", ROUTER.format(python=sys.executable, achieved=24)))
    monkeypatch.setenv("ECPPACK", script(tmp_path / "packer", PACKER.format(python=sys.executable)))
    out = tmp_path / "out"

    def again(*options, reused):
        assert main(["--board", "ulx3s", "--out", str(out), *options]) == 1  # timing missed, reused or not
        output, errors = capsys.readouterr()
        assert ("holds the result of these inputs already" in output) == reused
        assert ("synthesise" in output) != reused
        assert "slower than its clock" in errors
        return report_of(out)

    first = again(reused=False)
    assert again(reused=True) == first
    assert not (out / "partial").exists()
    assert again("--force", reused=False)["inputs"] == first["inputs"]
    assert again("--seed", "2", reused=False)["inputs"] != first["inputs"]
    (out / "top.timing-missed.bit").unlink()
    again("--seed", "2", reused=False)
    (tmp_path / "r").write_text((tmp_path / "r").read_text() + "# another version\n")
    again("--seed", "2", reused=False)
    (out / "report.json").write_text("{")
    again("--seed", "2", reused=False)


def test_same_verilog_whatever_the_hash_seed(tmp_path):
    digests = set()
    for seed in ("0", "1"):
        code = (
            "import hashlib, sys; sys.path.insert(0, '.')\nfrom hw.arch.config import preset\n"
            "from hw.build.design import BoardTop, make_top\nfrom boards import find\n"
            "board = find('arty_a7'); config = preset('tiny').replace(clock_hz=board.clock_hz)\n"
            "top = BoardTop(board, make_top(config, baud=board.baud), board.clock_hz)\n"
            "plan = board.make_platform('Vivado').prepare(top, 'top', emit_src=False)\n"
            "print(hashlib.sha256(plan.files['top.v'].encode() + plan.files['top.xdc'].encode()).hexdigest())"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed},
                              capture_output=True, text=True, check=True)
        digests.add(done.stdout)
    assert len(digests) == 1


@pytest.mark.usefixtures("small")
def test_same_input_same_plan(tmp_path):
    digests = set()
    for name in ("a", "b"):
        assert main(["--board", "ulx3s", "--no-route", "--out", str(tmp_path / name)]) == 0
        files = [(tmp_path / name / file).read_bytes() for file in ("plan.zip", "top.v", "top.lpf")]
        digests.add(hashlib.sha256(b"".join(files)).hexdigest())
    assert len(digests) == 1
    assert not (tmp_path / "a" / "top.bit").exists()


@pytest.mark.parametrize(("achieved", "status", "code", "kept", "gone"), [
    (24.99, "timing missed", 1, "top.timing-missed.bit", "top.bit"),
    (25.0, "routed", 0, "top.bit", "top.timing-missed.bit"),
])
@pytest.mark.usefixtures("small")
def test_missed_timing_is_never_silent(tmp_path, monkeypatch, capsys, achieved, status, code, kept, gone):
    router = script(tmp_path / "router", ROUTER.format(python=sys.executable, achieved=achieved))
    monkeypatch.setenv("NEXTPNR_ECP5", router)
    monkeypatch.setenv("ECPPACK", script(tmp_path / "packer", PACKER.format(python=sys.executable)))
    out = tmp_path / "out"
    out.mkdir()
    (out / gone).write_text("an older build's")
    assert main(["--board", "ulx3s", "--out", str(out)]) == code
    assert report_of(out)["status"] == status
    assert report_of(out)["bitstream"] == kept
    assert (out / kept).exists()
    assert not (out / gone).exists()
    stdout, stderr = capsys.readouterr()
    assert ("MISSED" in stdout) == bool(code)
    assert ("slower than its clock" in stderr) == bool(code)
    assert ("say with --clock 20" in stderr) == bool(code)


@pytest.mark.parametrize(("tool", "text", "sentence"), [
    ("YOSYS", "#!/bin/sh\necho 'ERROR: no cell.'; exit 1", "broken failed with exit status 1: ERROR: no cell"),
    ("NEXTPNR_ECP5", "#!/bin/sh\necho placing\nkill -SEGV $$", "broken failed with signal SIGSEGV: placing"),
    ("ECPPACK", "#!/bin/sh\nexit 3", "broken failed with exit status 3: no output"),
    ("ECPPACK", "not a program", "broken cannot be run: Exec format error"),
])
@pytest.mark.usefixtures("small")
def test_tool_crash_is_one_sentence(tmp_path, monkeypatch, capsys, tool, text, sentence):
    if tool == "ECPPACK":
        monkeypatch.setenv("NEXTPNR_ECP5", script(tmp_path / "r", ROUTER.format(python=sys.executable, achieved=30)))
    monkeypatch.setenv(tool, script(tmp_path / "broken", text))
    assert main(["--board", "ulx3s", "--out", str(tmp_path / "out")]) == 1
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    report = report_of(tmp_path / "out")
    assert report["status"] == "failed"
    assert sentence in report["error"]
    assert not list((tmp_path / "out").glob("*.bit"))
    assert not (tmp_path / "out" / "partial").exists()


@pytest.mark.usefixtures("small")
def test_missing_yosys_is_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("YOSYS", "/nonexistent/yosys")
    assert main(["--board", "ulx3s", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        "hw.build: the tool yosys was not found; get it from pip install 'abacus-fpga[hw]'\n"
    )


def test_own_configuration_and_preset_clock(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(design, "make_top", lambda config, *, baud: seen.append((config, baud)) or Small())
    path = tmp_path / "mine.json"
    path.write_text(preset("tiny").to_json())
    common = ["--board", "ulx3s", "--no-route", "--out", str(tmp_path / "out")]
    assert main([*common, "--config", str(path), "--baud", "115200"]) == 0
    assert main([*common, "--preset", "medium"]) == 0
    assert seen == [
        (preset("tiny"), 115_200),
        (preset("medium").replace(clock_hz=25_000_000), 3_000_000),  # a preset takes the board's clock
    ]
    assert report_of(tmp_path / "out")["config"]["clock_hz"] == 25_000_000


def test_list(capsys, no_xc7):
    assert main(["--list"]) == 0
    table = capsys.readouterr().out
    assert len(table.splitlines()) == 1 + sum(len(variants) for variants in BOARDS.values())
    assert table.count("synthesis; bitstream with python -m hw.tools install xc7\n") == 3
    assert main(["--list", "--json"]) == 0
    boards = json.loads(capsys.readouterr().out)
    assert [row["missing"] for row in boards if row["board"] == "ulx3s"] == [[]] * 4


def test_interrupt_leaves_nothing_half_written(tmp_path):
    slow = script(tmp_path / "slow", "#!/bin/sh\ntouch started\nsleep 60\n")
    code = (
        "import signal, sys\nsys.path.insert(0, '.')\nfrom tests.hw.small import Small\n"
        # Shells start background jobs, such as this test's own run may be, with interrupts ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from hw.build import design, cli\ndesign.make_top = lambda config, *, baud: Small()\n"
        f"sys.exit(cli.main(['--board', 'ulx3s', '--out', {str(tmp_path / 'out')!r}]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "YOSYS": slow}, stderr=subprocess.PIPE, text=True,
        stdout=subprocess.DEVNULL,
    )
    started = tmp_path / "out" / "partial" / "started"
    deadline = time.monotonic() + 60
    while not started.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    assert started.exists()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.strip() == "hw.build: interrupted; no unfinished file is kept"
    assert files_of(tmp_path / "out") == ["config.json", "logs", "plan.zip", "top.lpf"]


def prepare(board, folder, make_top, clock_hz):
    """Elaborate for a board; returns constraints and source."""
    stage = Stage(
        board=board, seed=1, work=folder, logs=folder, console=Console(sys.stderr),
        design=lambda: design.BoardTop(board, make_top(), clock_hz), clock_hz=clock_hz,
    )
    flow = flow_of(board)
    flow.prepare(stage)
    source = next(path for path in (folder / "top.v", folder / "top.il") if path.exists())
    return (folder / flow.constraints).read_text(), source.read_text()


@pytest.mark.parametrize("through_pll", [False, True])
@pytest.mark.parametrize("board", [board for boards in BOARDS.values() for board in boards], ids=lambda b: b.part.name)
def test_every_board_has_its_pins_and_clock(tmp_path, board, through_pll):
    constraints, source = prepare(board, tmp_path, Small, 45_000_000 if through_pll else board.clock_hz)
    for name, number, *part in (board.alive, board.busy, board.error, (*board.uart, "rx"), (*board.uart, "tx")):
        assert "__".join((f"{name}_{number}", *part, "io")) in constraints
    assert any(pll in source for pll in ("PLLE2_BASE", "EHXPLLL", "rPLL")) == through_pll
    frequency = {
        "ecp5": f"{board.clock_hz}.0 HZ", "xc7": f"-period {1e9 / board.clock_hz:.4f}",
        "gowin": "",  # the router's command line holds it
    }
    assert frequency[board.part.family] in constraints


DEFAULTS = {
    (board.part.family, board.preset): board for variants in BOARDS.values() for board in reversed(variants)
}


@pytest.mark.parametrize("board", DEFAULTS.values(), ids=lambda b: f"{b.name}-{b.variant}-{b.preset}")
def test_every_family_elaborates_its_boards_presets(board):
    config = preset(board.preset).replace(clock_hz=board.preset_clock_hz or board.clock_hz)
    top = design.BoardTop(board, design.make_top(config, baud=board.baud), config.clock_hz)
    platform = board.make_platform({"xc7": "Vivado", "ecp5": "Trellis", "gowin": "Apicula"}[board.part.family])
    assert Fragment.get(top, platform).subfragments


@pytest.mark.parametrize("board", [board for boards in BOARDS.values() for board in boards],
                         ids=lambda b: f"{b.name}-{b.variant}")
def test_every_board_has_room_for_its_preset(board):
    family = board.part.family
    check_fit(shared(estimate(preset(board.preset), family), family), board.part, board.preset, "takes by estimate")


@pytest.mark.parametrize("name", ["arty_a7", "ulx3s"])
def test_the_accelerator_itself_elaborates(tmp_path, name):
    board = BOARDS[name][0]
    config = preset("tiny").replace(clock_hz=board.clock_hz)
    _, source = prepare(board, tmp_path, lambda: design.make_top(config, baud=board.baud), config.clock_hz)
    assert all(f"accelerator.{part}" in source for part in ("uart", "endpoint", "core"))
