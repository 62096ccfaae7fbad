"""Torture in small: every module meets its requirements with small counts, and its judges can tell good from bad."""

from __future__ import annotations

import dataclasses
import json
import random

import pytest

from hw.arch.wire import Type
from sim import figures
from sim.faults import NOISY
from sim.figures import Figure, Record
from sim.torture import artifact, codec, inference, network, programs
from sim.torture.__main__ import CAMPAIGN
from sw import protocol
from sw.compiler import compile
from sw.protocol import Frame, encode

QUICK = ("codec", "order", "goodput", "inference", "noise", "kill", "refusals", "artifact", "soak")


@pytest.mark.parametrize("name", QUICK)
def test_requirements_are_met(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert CAMPAIGN.main([name, "--quick", "--seed", "5"]) == 0, capsys.readouterr().out


def test_a_weak_checksum_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With eight bits of checksum some damage must get through."""
    monkeypatch.setattr(protocol.zlib, "crc32", lambda data: sum(data) & 0xFF)
    assert codec.corrupt(3_000, 5) > 0


def test_flips_are_all_flips() -> None:
    data = encode(Frame(Type.PING, 1, 2, b""))
    bits = 8 * (len(data) - 2)
    seen = list(codec.flips(data))
    assert len(seen) == len(set(seen)) == bits + bits * (bits - 1) // 2
    assert data not in seen


@pytest.mark.parametrize("make", [network.graph, network.residual])
def test_results_do_not_depend_on_the_configuration(make) -> None:
    """One chain or two, planes side by side or not: the emulator computes the same."""
    images, graph = network.images(3, side=programs.SIDE), make(7, programs.SIDE)
    one, other = (network.expected(compile(graph, config), images) for config in (network.CONFIG, programs.CONFIG))
    assert one.tolist() == other.tolist()


def test_a_foreign_exception_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(data: bytes) -> None:
        raise KeyError("x")

    monkeypatch.setattr(artifact.artifact, "parse", parse)
    assert artifact.fuzz(10, 5) == (0, {"KeyError: 'x'"})


def test_mutations_reach_the_checks_behind_the_digest() -> None:
    rng, parts = random.Random(5), artifact.Parts.of(artifact.sample(True))
    assert parts.file() == artifact.sample(True)
    messages = set()
    for _ in range(300):
        try:
            artifact.artifact.parse(artifact._tokens(rng, parts))
        except artifact.ArtifactError as error:
            messages.add(str(error).split()[1])
    assert len(messages) > 5


def test_the_report_says_what_is_missing_and_what_failed(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = Figure("what", "5", "6", True), Figure("other", "0", "1", False)
    output = tmp_path / "report.md"
    figures.save(tmp_path, Record("codec", "python -m x", "2026-01-01", 3.0, (good,)))
    assert figures.load(tmp_path / "codec.json").figures == (good,)
    assert CAMPAIGN.main(["report", "--folder", str(tmp_path), "--output", str(output)]) == 1
    assert "order has not been measured" in capsys.readouterr().err
    figures.save(tmp_path, Record("order", "python -m y", "2026-01-01", 3.0, (bad,)))
    CAMPAIGN.main(["report", "--folder", str(tmp_path), "--output", str(output)])
    text = output.read_text()
    assert "| what | 5 | 6 | yes |" in text
    assert "| other | 0 | 1 | **no** |" in text
    assert "    python -m x" in text


@pytest.mark.parametrize("clock_hz", [25_000_000, 1_000_000])
@pytest.mark.parametrize("seed", range(4))
def test_batches_are_exact_over_a_bad_line(seed: int, clock_hz: int) -> None:
    """Replies lost between RUN, STATUS and READ never mix up frames, whether the core or the line is slower."""
    program = network.program(seed, network.CONFIG.replace(clock_hz=clock_hz))
    faults = dataclasses.replace(NOISY, flip=2e-4, drop=1e-3, insert=1e-3)
    inference.infer(program, 3_000_000, 40, seed, faults, network.SIDE)


def test_the_sample_is_a_model() -> None:
    images = network.images(1)
    model = artifact.artifact.parse(artifact.sample(False))
    assert model.golden_logits.tolist() == network.expected(network.program(), images).tolist()
    assert json.loads(artifact.Parts.of(artifact.sample(False)).text)["content"]["program"] is None
