"""The link's blocks in simulation, against PyPI's cobs and zlib, a bit-level line and the protocol's own text."""

import pytest

from hw.arch.config import preset
from hw.link.endpoint import Endpoint
from hw.link.frames import Deframer, Framer
from hw.link.uart import Uart
from hw.verilog import verilog
from sim.runner import SimulationError, run

DEFRAMER = (
    "whole_frames_arrive", "frames_share_delimiters_and_empty_ones_vanish", "every_single_bit_error_is_found",
    "bad_frames_are_dropped_and_counted", "line_errors_spoil_one_frame", "a_full_buffer_drops_whole_frames",
    "noise_never_hides_the_next_frame",
)
RATES = [(25_000_000, 3_125_000), (25_000_000, 3_000_000), (12_000_000, 500_000)]
FRAMER = ("framer_matches_cobs_and_zlib", "framer_keeps_up")


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_deframer(stall):
    assert run(Deframer(), "sim.link.bench_frames", tests=DEFRAMER, seed=3, settings={"stall": stall}) == len(DEFRAMER)


@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_framer(stall):
    assert run(Framer(), "sim.link.bench_frames", tests=FRAMER, seed=4, settings={"stall": stall}) == len(FRAMER)


@pytest.mark.parametrize(("clock_hz", "baud"), RATES)
def test_uart(clock_hz, baud):
    rates = {"clock_hz": clock_hz, "baud": baud}
    assert run(Uart(clock_hz, baud), "sim.link.bench_uart", seed=5, settings=rates) == 5


@pytest.mark.parametrize(("name", "stall"), [("tiny", 0.0), ("tiny-2x2", 0.3)])
@pytest.mark.parametrize(("bench", "count"), [("sim.link.bench_requests", 6), ("sim.link.bench_session", 5)])
def test_endpoint(name, stall, bench, count):
    settings = {"preset": name, "stall": stall}
    assert run(Endpoint(preset(name)), bench, seed=6, settings=settings) == count


def test_a_failing_bench_is_reported():
    with pytest.raises(SimulationError, match=r"(?s)^bench sim\.link\.bench_frames failed \(seed 1\).*framer_keeps_up"):
        run(Uart(25_000_000, 1_000_000), "sim.link.bench_frames", tests=["framer_keeps_up"], settings={"stall": 0.0})


def test_an_unknown_simulator_is_refused():
    component = Framer()
    verilog(component)  # a component must be used
    with pytest.raises(SimulationError, match="^simulator must be one of icarus, verilator, not 'modelsim'$"):
        run(component, "sim.link.bench_frames", simulator="modelsim")


def test_verilator_runs_the_same_benches():
    assert run(Framer(), "sim.link.bench_frames", simulator="verilator", tests=FRAMER, settings={"stall": 0.2}) == 2
