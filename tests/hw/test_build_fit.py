"""`--for MODEL`: the search with a stand-in for the compiler, and the compiler itself through its pipe."""

import json
import re
from pathlib import Path

import pytest

import boards
from hw.arch.config import Config, preset
from hw.build import design
from hw.build.cli import main
from hw.build.cost import bram_kbits
from hw.build.errors import BuildError
from hw.build.fit import LARGEST, Planner, describe, fits, frontier, search, shapes, trimmed
from sw import artifact
from sw.compiler import CompileError, compile
from sw.plan import needs
from tests.hw.small import Small, report_of
from tests.residuals import residual_graph

MODELS = Path(__file__).parent.parent.parent / "models"
WORK = 1 << 24  # binary multiply-accumulates of the stand-in's network


def network(words):
    """A compiler whose network keeps every lane busy and needs `words` of weights in all lanes together."""
    def ask(config):
        assert config.replace(**LARGEST) == config  # memories are asked for without limit
        depth = -(-words // config.row_lanes)
        if depth > config.weight_depth:
            return {"error": "layer a needs more weights"}
        layer = {"name": "a", "kernel": "1x1", "planes": "1x1", "macs": WORK, "weight_bits": 1}
        cycles = -(-WORK // config.macs_per_cycle) + 10
        return {"cycles": cycles, "needs": {"weight_depth": depth}, "layers": [layer | {"cycles": cycles}]}
    return ask


@pytest.mark.parametrize("name", ["arty_a7", "ulx3s", "tang_primer_20k"])
def test_the_largest_array_that_fits_wins(name):
    board = boards.find(name)
    found = search(network(4096), board, "net")
    assert all(fits(choice.usage, board.part) for choice in found)
    assert [choice.cycles for choice in found] == sorted({choice.cycles for choice in found})
    assert [choice.usage.luts for choice in found] == sorted({choice.usage.luts for choice in found}, reverse=True)
    assert found[0].config.clock_hz == (board.preset_clock_hz or board.clock_hz)
    assert found[0].config.weight_depth * found[0].config.row_lanes >= 4096
    assert found[0].cycles == min(choice.cycles for choice in found)
    assert len(describe(found, board.part).splitlines()) == 1 + len(found)


def test_of_two_equally_fast_the_smaller_stays():
    shape = next(shapes())
    same = [search(network(64), boards.find("ulx3s"), "net")[0]] * 2
    assert frontier(same) == same[:1]
    assert shape.program_depth == 64


def test_what_is_short_and_which_board_would_do():
    with pytest.raises(BuildError, match=(
        r"^net does not fit Sipeed Tang Primer 20K: the nearest configuration needs [\d,]+ BRAM kbit of 828; "
        r"[^;]+ would do \(--board \w+ --variant \w+\)$"
    )):
        search(network(60_000), boards.find("tang_primer_20k"), "net")


def test_nothing_would_do():
    with pytest.raises(BuildError, match="; no board of the shelf would do$"):
        search(network(4_000_000), boards.find("ulx3s"), "net")
    with pytest.raises(BuildError, match="^no configuration runs net: layer a needs more weights$"):
        search(network(40_000_000), boards.find("ulx3s"), "net")


@pytest.mark.parametrize("words", [1, 512, 513, 5000])
def test_memories_are_trimmed_to_rows_of_a_block(words):
    config = trimmed(preset("small"), {"weight_depth": words, "image_depth": 300, "program_depth": 3})
    assert words <= config.weight_depth < words + 512
    assert config.weight_depth % 512 == 0
    assert (config.image_depth, config.program_depth) == (2048, 64)
    assert bram_kbits(config, "ecp5") <= bram_kbits(config.replace(weight_depth=config.weight_depth + 1), "ecp5")


@pytest.mark.parametrize("name", ["digits", "fashion"])
def test_the_compiler_answers_through_the_pipe(name):
    path = MODELS / f"{name}.abacus"
    program = compile(artifact.load(path).graph, preset("small"))
    with Planner(path) as planner:
        answer = planner(preset("small"))
        assert "more than the activation memory's depth of 2" in planner(Config(activation_depth=2))["error"]
    assert answer["cycles"] == program.predicted_cycles == sum(layer["cycles"] for layer in answer["layers"])
    assert answer["needs"]["activation_depth"] == program.activation_words
    smaller = preset("small").replace(**answer["needs"] | {"image_depth": 2048})
    with Planner(path) as planner:
        assert planner(smaller)["cycles"] == answer["cycles"]
        for field, words in answer["needs"].items():
            if field not in ("image_depth", "result_depth", "value_depth"):
                less = planner(smaller.replace(**{field: words - 1}))
                ahead = [layer["kernel"] for layer in less.get("layers", ()) if "ahead" in layer["kernel"]]
                assert "error" in less or (field == "activation_depth" and not ahead), field


@pytest.mark.parametrize("seed", [1, 2])
def test_residual_values_are_what_the_program_touches(seed):
    graph = residual_graph(seed)
    needed = needs(compile(graph, preset("small").replace(value_depth=65536)))["value_depth"]
    assert needed
    compile(graph, preset("small").replace(value_depth=needed))
    with pytest.raises(CompileError, match="more than the value memory's depth"):
        compile(graph, preset("small").replace(value_depth=needed - 1), tiling=False)


def test_unreadable_model_is_one_sentence(tmp_path, capsys):
    (tmp_path / "bad.abacus").write_text("junk")
    for model, sentence in ((tmp_path / "bad.abacus", "model file .*bad.abacus: .*"), ("/no", "model file /no .*")):
        assert main(["--board", "ulx3s", "--for", str(model), "--out", str(tmp_path / "out")]) == 1
        assert re.fullmatch(f"hw.build: {sentence}\n", capsys.readouterr().err)


def test_a_given_configuration_is_not_searched_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(design, "make_top", lambda config, *, baud: Small())
    common = ["--board", "ulx3s", "--no-route", "--out", str(tmp_path), "--for", str(MODELS / "digits.abacus")]
    assert main([*common, "--preset", "small"]) == 0
    report = report_of(tmp_path)
    assert report["configuration"] == "small"
    assert report["network"]["model"] == "digits.abacus"
    assert "frontier" not in report["network"]
    page = (tmp_path / "report.html").read_text()
    assert "Network digits.abacus" in page
    assert page.count("<circle") == sum(1 for layer in report["network"]["layers"] if layer["macs"])
    (tmp_path / "mine.json").write_text(json.dumps({"weight_depth": 2}))
    assert main([*common, "--config", str(tmp_path / "mine.json")]) == 1
    assert "digits.abacus does not run on configuration mine: layer " in capsys.readouterr().err
