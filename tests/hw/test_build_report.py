import json

import pytest

from boards import Part
from hw.build.errors import BuildError
from hw.build.report import (
    Timing,
    Usage,
    cells_of,
    check_fit,
    count,
    rows,
    save,
    slowest_path,
    slowest_steps,
    table,
    timing_of,
)
from hw.build.xc7 import IGNORED, WEIGHTS

PART = Part("xc7tiny", "xc7", luts=100, ffs=200, bram_kbits=36, multipliers=2, die="xc7tiny")


def test_cells_are_weighed():
    cells = {"LUT6": 10, "LUT2": 3, "RAM32M": 2, "FDRE": 7, "FDSE": 1, "CARRY4": 9}
    cells |= {"RAMB18E1": 1, "RAMB36E1": 2, "DSP48E1": 1}
    assert count(cells, WEIGHTS, IGNORED) == Usage(luts=21, ffs=8, bram_kbits=90, multipliers=1)


def test_unknown_cell_is_refused():
    with pytest.raises(BuildError, match="^the netlist has 3 cells of type MAGIC, which this flow does not know$"):
        count({"LUT6": 1, "MAGIC": 3}, WEIGHTS, IGNORED)


def test_stat_file(tmp_path):
    path = tmp_path / "stat.json"
    path.write_text(json.dumps({"design": {"num_cells_by_type": {"$scopeinfo": 4, "LUT6": 2}}}))
    assert cells_of(path) == {"LUT6": 2}


@pytest.mark.parametrize(("usage", "short"), [
    (Usage(100, 200, 36, 2), None),
    (Usage(101, 200, 36, 2), "101 LUT6 of 100 on"),
    (Usage(1000, 1201, 36, 2), "1,000 LUT6 of 100 and 1,201 FF of 200 on"),
    (Usage(1, 1, 54, 3), "54 BRAM kbit of 36 and 3 multipliers of 2 on"),
])
def test_fit(usage, short):
    if short is None:
        check_fit(usage, PART, "x", "needs")
        return
    with pytest.raises(BuildError, match=f"^configuration x needs {short} xc7tiny; choose a smaller --preset"):
        check_fit(usage, PART, "x", "needs")


def test_table():
    lines = table(Usage(50, 20, 18, 0), PART).splitlines()
    assert lines[0].split() == ["xc7tiny", "used", "of"]
    assert lines[1].split() == ["LUT6", "50", "100", "50.0%"]
    assert len(lines) == 1 + len(rows(Usage(0, 0, 0, 0), PART))


def test_timing(tmp_path):
    path = tmp_path / "route.json"
    path.write_text(json.dumps({"fmax": {
        "b": {"achieved": 99.994, "constraint": 100}, "a": {"achieved": 100.0, "constraint": 100},
    }}))
    assert timing_of(path) == (Timing("a", 100.0, 100), Timing("b", 99.99, 100))
    assert [clock.met for clock in timing_of(path)] == [True, False]


def test_missed_timing_is_not_rounded_away(tmp_path):
    path = tmp_path / "route.json"
    path.write_text(json.dumps({"fmax": {"a": {"achieved": 99.9999, "constraint": 100}}}))
    assert not timing_of(path)[0].met


def test_slowest_path(tmp_path):
    def path(start, end, *delays):
        steps = [
            {"type": kind, "delay": delay, "from": {"cell": start}, "to": {"cell": end}}
            for kind, delay in zip(("clk-to-q", "routing", "setup"), delays, strict=True)
        ]
        return {"from": "posedge clk", "to": "posedge clk", "path": steps}
    report = tmp_path / "route.json"
    paths = [path("a", "b", 1, 2, 0.5), path("c", "d", 1, 4, 0.25), {**path("e", "f", 9, 9, 9), "to": "<async>"}]
    report.write_text(json.dumps({"critical_paths": paths}))
    assert slowest_path(slowest_steps(report)) == {"from": "c", "to": "d", "logic_ns": 1.25, "routing_ns": 4}
    report.write_text("{}")
    assert slowest_path(slowest_steps(report)) is None


def test_no_clock_is_no_timing(tmp_path):
    path = tmp_path / "route.json"
    path.write_text('{"fmax": {}}')
    with pytest.raises(BuildError, match="no clock, so no timing is known"):
        timing_of(path)


def test_report_appears_whole(tmp_path):
    save(tmp_path / "report.json", "text")
    assert (tmp_path / "report.json").read_text() == "text"
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
