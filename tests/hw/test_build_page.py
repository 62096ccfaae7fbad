"""Blocks of a netlist, the picture of a placement and the page that shows them."""

import json
from collections import Counter
from html.parser import HTMLParser

import pytest

from hw.arch.config import PRESETS
from hw.build.blocks import Blocks, block_of
from hw.build.page import OTHER, colours, page
from hw.build.placement import path_tiles, picture, placed_tiles
from hw.build.report import Usage

WEIGHTS = {"FDRE": Usage(0, 1, 0, 0), "LUT2": Usage(1, 0, 0, 0), "RAMB18E1": Usage(0, 0, 18, 0)}
VOID = {"meta", "br", "rect", "path", "polyline"}


@pytest.mark.parametrize(("name", "block"), [
    ("accelerator.core.array.column3.dot7.count", "array.dot"),
    ("\\top.accelerator.core.array.column0.combine0.best", "array.combine"),
    ("accelerator.core.threshold1_0.cell", "threshold"),
    ("accelerator.core.activations$231", "activations"),
    ("accelerator.endpoint.deframer.checker", "endpoint.deframer"),
    ("accelerator.core", "core"),
    ("accelerator", "core"),
    ("led_0", "board"),
])
def test_block_of_a_name(name, block):
    assert block_of(name) == block


def lut(inputs, output):
    return {"type": "LUT2", "connections": {"I0": inputs, "O": [output]}, "attributes": {}}


@pytest.fixture
def blocks(tmp_path):
    """Registers known by line, by the net they drive and by their own name; logic known by what it feeds."""
    cells = {
        "$ff$1": {"type": "FDRE", "connections": {"D": [1], "Q": [2]}, "attributes": {"src": "top.v:4.1-4.9|x.v:1.1"}},
        "$ff$2": {"type": "FDRE", "connections": {"D": [3], "Q": [4]}, "attributes": {}},
        "accelerator.core.taps.store.0": {"type": "RAMB18E1", "connections": {"A": [5], "DO": [6]}, "attributes": {}},
        "$lut$a": lut([2, 4], 1),  # feeds the first register only
        "$lut$b": lut([2], 3),  # feeds the second register only
        "$lut$c": lut([4], 7),  # feeds $lut$d, which feeds the memory
        "$lut$d": lut([7], 5),
        "$lut$e": lut([6], 9),  # feeds a pin
        "$scope": {"type": "$scopeinfo", "connections": {}},
    }
    nets = {
        "accelerator.endpoint.framer.held": {"hide_name": 0, "bits": [4]},
        "accelerator.x": {"hide_name": 0, "bits": [4]},
        "$hidden.name": {"hide_name": 1, "bits": [1]}, "led": {"hide_name": 0, "bits": [9]},
    }
    top = {"attributes": {"top": "1"}, "cells": cells, "netnames": nets}
    (tmp_path / "top.json").write_text(json.dumps({"modules": {"FDRE": {"cells": {}}, "top": top}}))
    modules = ("module top(a);", "endmodule", "module \\top.accelerator.core.writer (clk);", "", "endmodule", "")
    (tmp_path / "top.v").write_text("\n".join(modules))
    return Blocks(tmp_path / "top.json", tmp_path / "top.v")


def test_every_cell_has_a_block(blocks):
    assert {name: blocks.of(name) for name in ("$ff$1", "$ff$2", "$lut$a", "$lut$b", "$lut$c", "$lut$d", "$lut$e")} == {
        "$ff$1": "writer", "$ff$2": "endpoint.framer", "$lut$a": "writer", "$lut$b": "endpoint.framer",
        "$lut$c": "taps", "$lut$d": "taps", "$lut$e": "board",
    }
    assert blocks.of("$lut$a$LUT7") == "writer"  # a router's part of the cell
    assert blocks.of("$PACKER_VCC") == "board"


def test_usage_by_block_adds_up(blocks):
    usage = blocks.usage(WEIGHTS, frozenset())
    assert usage == {
        "taps": Usage(2, 0, 18, 0), "endpoint.framer": Usage(1, 1, 0, 0), "writer": Usage(1, 1, 0, 0),
        "board": Usage(1, 0, 0, 0),
    }
    assert list(usage) == ["taps", "endpoint.framer", "writer", "board"]


def step(kind, delay, start, end):
    return {"type": kind, "delay": delay, "from": {"cell": start, "loc": [1, 2]}, "to": {"cell": end, "loc": [3, 2]}}


def test_path_through_blocks(blocks):
    steps = [
        step("clk-to-q", 0.5, "$ff$1", "$ff$1"), step("routing", 1.0, "$ff$1", "$lut$a"),
        step("logic", 0.125, "$lut$a", "$lut$a"), step("routing", 2.0, "$lut$a", "$ff$2"),
        step("setup", 0.25, "$ff$2", "$ff$2"),
    ]
    assert blocks.path(steps) == [
        {"block": "writer", "logic_ns": 0.62, "routing_ns": 1.0, "cells": 1},
        {"block": "endpoint.framer", "logic_ns": 0.25, "routing_ns": 2.0, "cells": 1},
    ]
    assert path_tiles(steps[:2]) == [(1, 2), (3, 2), (1, 2), (3, 2)]


def test_tiles_of_both_families(tmp_path, blocks):
    (tmp_path / "placed.json").write_text(
        '        "$lut$a": {\n            "NEXTPNR_BEL": "X52Y75/SLICE_X0Y0.C6LUT",\n'
        '        "$ff$1$x": {\n            "NEXTPNR_BEL": "X52Y75/SLICE_X0Y0.AFF",\n'
        '        "accelerator.core.taps.store.0": {\n            "NEXTPNR_BEL": "X3/Y4/EBR0",\n'
        '      "netnames": {\n        "$lut$b": {\n            "NEXTPNR_BEL": "X9/Y9/SLICEA"\n'
    )
    assert placed_tiles(tmp_path / "placed.json", blocks.of) == {(52, 75): {"writer": 2}, (3, 4): {"taps": 1}}


def test_picture():
    tiles = {(1, 1): Counter(a=3, b=2), (2, 1): Counter(c=20)}
    svg = picture(tiles, {"a": "#111111"}, OTHER, [(1, 1), (4, 5)])
    assert 'viewBox="0 0 6 7"' in svg
    assert '<path fill="#111111" fill-opacity="0.35" d="M1 5h.9v.9h-.9z"/>' in svg
    assert f'<path fill="{OTHER}" fill-opacity="1.0" d="M2 5h.9v.9h-.9z"/>' in svg
    assert svg.count("<polyline points=\"1.45,5.45 4.45,1.45\"") == 2
    assert picture({}, {}, OTHER, []) == ""


class Checker(HTMLParser):
    """Collects text; fails on tags that are not closed in order and on anything loaded from elsewhere."""

    def __init__(self):
        super().__init__()
        self.open, self.text = [], []

    def handle_starttag(self, tag, attrs):
        assert tag not in {"script", "link", "img", "iframe"}
        assert not {"src", "href"} & {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def report_for(**more):
    config = PRESETS["small"]
    return {
        "status": "synthesised", "board": "arty_a7", "variant": "35", "part": "xc7a35tcsg324-1",
        "configuration": "<small>",
        "config": {name: getattr(config, name) for name in config.__dataclass_fields__},
        "config_digest": config.digest.hex(), "macs_per_cycle": 1024, "baud": 3_000_000, "seed": 1,
        "seconds": {"elaborate": 1.5}, **more,
    }


ROUTED = {
    "status": "routed",
    "synthesis": {"luts": 5000, "ffs": 10, "bram_kbits": 18, "multipliers": 0},
    "available": {"luts": 10_000, "ffs": 100, "bram_kbits": 36, "multipliers": 2},
    "blocks": {name: {"luts": 100 - i, "ffs": 1, "bram_kbits": 0, "multipliers": 0}
               for i, name in enumerate([f"b{i}" for i in range(20)])},
    "timing": [{"clock": "clk", "achieved": 111.25, "required": 100.0, "met": True}],
    "slowest_path": {"from": "a.b", "to": "c.d", "logic_ns": 1, "routing_ns": 2},
    "path": [{"block": "b19", "logic_ns": 1.0, "routing_ns": 2.0, "cells": 1}],
}


@pytest.mark.parametrize(("more", "texts"), [
    ({"status": "failed", "error": "no <room>"}, ["failed", "no <room>", "0.0512 TOPS"]),
    (ROUTED, ["routed, timing met", "111.2 MHz", "111.25 MHz", "50.0%", "4.88", "b19", "a.b", "1.5 s"]),
    ({**ROUTED, "status": "timing missed"}, ["timing missed"]),
])
def test_page_is_whole_and_shows_the_figures(more, texts):
    checker = Checker()
    checker.feed(page(report_for(**more), "<svg><rect/></svg>"))
    checker.close()
    assert checker.open == []
    text = "\n".join(checker.text)
    assert "<small>" in text  # the name, escaped
    for wanted in texts:
        assert wanted in text


def test_colours_go_to_the_path_and_the_largest_blocks():
    shades = colours(ROUTED)
    assert list(shades) == ["b19", *(f"b{i}" for i in range(11))]
    assert len(set(shades.values())) == 12
