"""Counts, products and rings in both forms, of LUTs and portable, against plain integers."""

import random

import pytest
from amaranth.hdl import Array, Cat, Signal
from amaranth.sim import Simulator

from hw import memory, multiply, popcount

STEPS = 60


def simulate(dut, bench):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


def modelled(m, init, inputs):
    """What the primitive does, by its definition."""
    output = Signal()
    m.d.comb += output.eq(Array(init >> row & 1 for row in range(1 << len(inputs)))[Cat(inputs)])
    return output


@pytest.fixture(params=["portable", "primitives"])
def form(request, monkeypatch):
    monkeypatch.setattr(popcount, "has_lut6", lambda platform: request.param == "primitives")
    monkeypatch.setattr(popcount, "primitive", modelled)
    monkeypatch.setattr(memory, "has_lut6", lambda platform: request.param == "primitives")


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize(("width", "shift"), [
    (1, 0), (2, 0), (3, 0), (7, 0), (8, 7), (9, 0), (16, 2), (24, 1), (64, 0), (64, 1), (128, 4)])
def test_match_count(width, shift):
    rng, dut, ones = random.Random(width), popcount.MatchCount(width, shift), (1 << width) - 1
    lower, first = ones >> width // 2, popcount.early_mask(width)

    async def bench(ctx):
        expected, commands, last = [], [], (0, 0)
        for step in range(STEPS):
            a = rng.choice((0, ones, rng.getrandbits(width)))
            b = rng.choice((a, ~a & ones, a ^ 1 << rng.randrange(width), rng.getrandbits(width)))
            enable, split = rng.random() < 0.8, rng.randint(0, 1)
            ctx.set(dut.a, a & first | last[0] & ~first)
            ctx.set(dut.b, b & first | last[1] & ~first)
            last = a, b
            commands.append((enable, split))
            matches = ~(a ^ b) & ones
            upper = (matches & ~lower).bit_count() << (shift if split else 0)
            expected.append((matches & lower).bit_count() + upper if enable else 0)
            due = commands[-popcount.LATENCY] if step >= popcount.LATENCY - 1 else (0, 0)
            ctx.set(dut.enable, due[0])
            ctx.set(dut.split, due[1])
            await ctx.tick()
            if step >= popcount.LATENCY - 1:
                assert ctx.get(dut.o) == expected[-popcount.LATENCY], step

    simulate(dut, bench)


@pytest.mark.parametrize("count", range(2, 7))
def test_counters_conserve_their_bits(count, monkeypatch):
    """Every cell: outputs weighed by powers of two are the number of ones among the inputs."""
    inits = []
    monkeypatch.setattr(popcount, "primitive", lambda m, init, inputs: inits.append(init))
    popcount.counter(None, [Signal() for _ in range(count)])
    for row in range(1 << count):
        assert sum((init >> row & 1) << weight for weight, init in enumerate(inits)) == row.bit_count()


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize(("a_bits", "b_bits"), [(2, 2), (3, 5), (8, 7), (15, 12), (17, 16)])
def test_multiplier(a_bits, b_bits, hard, monkeypatch):
    monkeypatch.setattr(multiply, "has_multipliers", lambda platform: hard)
    rng, dut = random.Random(a_bits), multiply.Multiplier(a_bits, b_bits)

    def pick(bits):
        top = 1 << (bits - 1)
        return rng.choice((-top, top - 1, 0, -1, rng.randrange(-top, top)))

    async def bench(ctx):
        products = []
        for _ in range(20 * STEPS):
            a, b = pick(a_bits), pick(b_bits)
            ctx.set(dut.a, a)
            ctx.set(dut.b, b)
            products.append(a * b)
            await ctx.tick()
            if len(products) >= multiply.LATENCY:
                assert ctx.get(dut.o) == products[-multiply.LATENCY]

    simulate(dut, bench)


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("depth", [1, 2, 3, 7, 8])
def test_ring(depth):
    rng, dut = random.Random(depth), memory.Ring(5, depth)

    async def bench(ctx):
        entered = []
        for _ in range(STEPS):
            step, value = rng.randint(0, 1), rng.randint(-16, 15)
            ctx.set(dut.step, step)
            ctx.set(dut.i, value)
            entered += [value] * step
            await ctx.tick()
            if len(entered) >= depth:
                assert ctx.get(dut.o) == entered[-depth]

    simulate(dut, bench)
