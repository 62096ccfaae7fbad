import json

import pytest

from hw.build.figures import HEADS, main

REPORT = {
    "board": "arty_a7", "variant": "35", "configuration": "medium", "macs_per_cycle": 4096,
    "config": {"clock_hz": 100_000_000}, "seconds": {"synthesise": 90.0, "route": 60.0},
    "synthesis": {"luts": 10_400, "ffs": 4_160, "bram_kbits": 900, "multipliers": 0},
    "lut6": 7_280, "estimate": {"luts": 10_608, "ffs": 0, "bram_kbits": 0, "multipliers": 0},
    "available": {"luts": 20_800, "ffs": 41_600, "bram_kbits": 1_800, "multipliers": 90},
    "timing": [{"achieved": 120.0, "required": 100.0, "met": True}, {"achieved": 49.9, "required": 50.0, "met": False}],
}


def test_table(tmp_path, capsys):
    routed, failed = tmp_path / "a", tmp_path / "b"
    unfinished = {name: value for name, value in REPORT.items() if name not in ("synthesis", "timing")}
    for folder, report in ((routed, REPORT), (failed, unfinished)):
        folder.mkdir()
        (folder / "report.json").write_text(json.dumps(report))
    assert main([str(routed), str(failed)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [len(line.split("|")) for line in lines] == [len(HEADS) + 2] * 4
    start = "| arty_a7 35 | medium | 4,096 | "
    resources = "10,400 (50%) | +2.0% | 7,280 (35%) | 4,160 (10%) | 900 (50%) | 0 (0%) | "
    assert lines[2] == start + resources + "100 | 49.9 (missed) | 0.82 | 2.5 |"
    assert lines[3] == start + "- | - | - | - | - | - | 100 | - | 0.82 | 2.5 |"


@pytest.mark.parametrize("arguments", [[], ["/nonexistent"]])
def test_refusals_are_one_sentence(capsys, arguments):
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert err.startswith("hw.build.figures: ") and err.count("\n") == 1
