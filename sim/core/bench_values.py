"""`ValueLane` against `hw.arch.numerics`: addends, kept values and the host's words."""

import cocotb

from hw.arch import numerics
from hw.arch.config import VALUE_BITS
from hw.arch.isa import Values
from hw.layouts import access_layout
from hw.values import KEEP
from sim.core.surroundings import configuration, flat, split
from sim.helpers import cycles, generator, pack, start

ADDEND, SUM = 2, 4  # an access to its addends and to the sums that are kept


async def host_writes(dut, words):
    """All words of the memory, through the host's port."""
    dut.idle.value = 1
    size = len(dut.host) - 1 - len(words[0]) * VALUE_BITS  # bits of an address
    for address, word in enumerate(words):
        dut.host.value = 1 | address << 1 | flat(word, VALUE_BITS) << 1 + size
        await cycles(dut, 1)
    dut.host.value = 0
    await cycles(dut, 1)


async def host_reads(dut, count, chains):
    """The first `count` words."""
    words = []
    for address in range(count):
        dut.probe.value = address
        await cycles(dut, 1)
        words.append([signed(value, VALUE_BITS) for value in split(int(dut.word.value), VALUE_BITS, chains)])
    return words


def signed(value, bits):
    return value - (value >> bits - 1 << bits)


@cocotb.test()
async def random_layers(dut):
    """Every shift, added or not, kept or not: V * 2^shift in its cycle, and what is kept of X in its place."""
    config, rng = configuration(), generator()
    chains, bits, depth = config.chains, config.sum_bits, min(config.value_depth, 40)
    top = 1 << VALUE_BITS - 1
    await start(dut, values=0, access=0, sums=0, idle=1, host=0, probe=0)
    words = [[rng.choice((-top, top - 1, rng.randrange(-top, top))) for _ in range(chains)] for _ in range(depth)]
    await host_writes(dut, words)
    for shift in range(16):
        values = Values(0, rng.randint(0, 1), rng.randint(0, 1), shift, rng.randint(0, 1))
        dut.values.value, dut.idle.value = values.pack(), 0
        accesses, sums, expected, cycle = {}, {}, {}, 0
        for address in sorted(rng.sample(range(depth), depth // 2)):
            accesses[cycle] = address
            expected[cycle + ADDEND] = [value << shift if values.add else 0 for value in words[address]]
            span = rng.choice((bits - 1, min(bits - 1, VALUE_BITS + shift)))
            sums[cycle + SUM] = [rng.randrange(-1 << span, 1 << span) for _ in range(chains)]
            if values.keep:
                words[address] = [numerics.keep(x, shift, bool(values.rectify)) for x in sums[cycle + SUM]]
            cycle += rng.choice((1, 1, 2, 5))
        for now in range(cycle + KEEP + 2):
            access = {"valid": 1, "address": accesses[now]} if now in accesses else {}
            dut.access.value = pack(access_layout(config), **access)
            dut.sums.value = flat(sums.get(now, [rng.getrandbits(bits) for _ in range(chains)]), bits)
            if now in expected:
                assert split(int(dut.addends.value), bits, chains) == [
                    value & (1 << bits) - 1 for value in expected[now]], (shift, now)
            await cycles(dut, 1)
        dut.idle.value = 1
        assert await host_reads(dut, depth, chains) == words, values
