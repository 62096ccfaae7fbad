"""Small parts of the link in Amaranth's own simulator: no external tools."""

import gc
import random
import warnings

import pytest
from amaranth.sim import Simulator

from hw.arch import wire
from hw.arch.config import preset
from hw.arch.wire import Error
from hw.interfaces import word_bits, write_layout
from hw.link.access import TARGET, Access
from hw.link.replies import Epoch
from hw.link.ring import Ring
from hw.link.session import Session
from hw.link.uart import PHASE_BITS, Uart, phase_step
from hw.queue import Buffer, Queue
from hw.top import Top
from hw.verilog import verilog

pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


@pytest.fixture(autouse=True)
def collect_refused():
    """Components that their constructor refuses are never used; they must be gone before the next test warns."""
    yield
    gc.collect()


def simulate(component, bench):
    """Run one asynchronous testbench with a clock."""
    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


RATES = [(25_000_000, 115_200), (25_000_000, 3_125_000), (100_000_000, 12_000_000)]


@pytest.mark.parametrize(("clock_hz", "baud"), RATES)
def test_phase_step_is_exact(clock_hz, baud):
    assert abs(phase_step(clock_hz, baud) * clock_hz / (1 << PHASE_BITS) / baud - 1) < 1e-4


@pytest.mark.parametrize("baud", [-1, 0, 3_125_001, 10**9])
def test_impossible_baud_is_refused(baud):
    with pytest.raises(ValueError, match=rf"^baud must be in 1\.\.3125000 at a clock of 25000000 Hz, not {baud}$"):
        Uart(25_000_000, baud)
    with pytest.raises(ValueError, match="^baud must be in"):
        Top(preset("tiny"), baud=baud)


@pytest.mark.parametrize("depth", [1, 0, -3])
def test_queue_depth_is_checked(depth):
    with pytest.raises(ValueError, match=f"^Queue depth must be at least 2 words, not {depth}$"):
        Queue(8, depth)


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 100])
def test_ring_depth_is_checked(depth):
    with pytest.raises(ValueError, match="^Ring depth must be a power of two"):
        Ring(depth)


@pytest.mark.parametrize("depth", [2, 3, 16])
@pytest.mark.parametrize("seed", [1, 2])
def test_queue_keeps_words_in_order_and_flushes(depth, seed):
    queue, rng = Queue(8, depth), random.Random(seed)

    async def bench(ctx):
        inside, fullest, flushes = [], 0, 0
        for cycle in range(600):
            flush = rng.random() < 0.01
            put, take, word = rng.random() < 0.6, rng.random() < 0.5, rng.randrange(256)
            ctx.set(queue.i.valid, put)
            ctx.set(queue.i.payload, word)
            ctx.set(queue.o.ready, take)
            ctx.set(queue.flush, flush)
            assert ctx.get(queue.level) == len(inside), f"cycle {cycle}"
            put, take = put and ctx.get(queue.i.ready), take and ctx.get(queue.o.valid)
            if take:
                assert ctx.get(queue.o.payload) == inside.pop(0)
            if put:
                inside.append(word)
            fullest = max(fullest, len(inside))
            if flush:
                flushes += 1
                inside.clear()
            await ctx.tick()
        assert fullest == depth
        assert flushes

    simulate(queue, bench)


def test_buffer_keeps_words_in_order_at_full_rate():
    buffer, rng = Buffer(8), random.Random(5)

    async def bench(ctx):
        sent, taken, last = [], [], 0
        for cycle in range(1000):
            calm = cycle >= 900  # nobody pauses: a word per cycle
            ctx.set(buffer.i.valid, calm or rng.random() < 0.6)
            ctx.set(buffer.i.payload, rng.randrange(256))
            ready = ctx.get(buffer.i.ready)
            ctx.set(buffer.o.ready, calm or rng.random() < 0.6)
            assert ctx.get(buffer.i.ready) == ready, "ready must not depend on the other side within the cycle"
            if ready and ctx.get(buffer.i.valid):
                sent.append(ctx.get(buffer.i.payload))
            if ctx.get(buffer.o.valid) and ctx.get(buffer.o.ready):
                taken.append(ctx.get(buffer.o.payload))
            last = len(taken) if cycle == 900 else last
            await ctx.tick()
        assert taken == sent[: len(taken)]
        assert len(sent) - len(taken) <= 2
        assert len(taken) - last >= 98

    simulate(buffer, bench)


def test_ring_streams_what_is_committed_only():
    ring, rng = Ring(8), random.Random(7)

    async def bench(ctx):
        pending, taken, write, roomless = [], [], 0, 0
        sent = []
        for _ in range(2000):
            ctx.set(ring.write, 0)
            ctx.set(ring.head, write)
            room = ctx.get(ring.room)
            roomless += not room
            choice = rng.random()
            if choice < 0.4 and room:
                pending.append(rng.randrange(256))
                ctx.set(ring.write, 1)
                ctx.set(ring.address, write)
                ctx.set(ring.data, pending[-1])
                write = (write + 1) % 8
            elif choice < 0.5:  # take back what is not committed
                write = (write - len(pending)) % 8
                pending.clear()
            elif choice < 0.7:
                sent += pending
                pending.clear()
                ctx.set(ring.commit, write)
            ctx.set(ring.o.ready, rng.random() < 0.5)
            if ctx.get(ring.o.valid) and ctx.get(ring.o.ready):
                taken.append(ctx.get(ring.o.payload))
            await ctx.tick()
        ctx.set(ring.write, 0)
        ctx.set(ring.o.ready, 1)
        for _ in range(20):
            if ctx.get(ring.o.valid):
                taken.append(ctx.get(ring.o.payload))
            await ctx.tick()
        assert taken == sent
        assert len(sent) > 200
        assert roomless > 50

    simulate(ring, bench)


@pytest.mark.parametrize("opening", [0, 250])
def test_session_knows_what_it_executed(opening):
    session = Session()

    async def bench(ctx):
        async def pulse(port, sequence):
            ctx.set(session.sequence, sequence % 256)
            ctx.set(port, 1)
            await ctx.tick()
            ctx.set(port, 0)

        ctx.set(session.session, 5)
        await ctx.tick()
        assert ctx.get(session.stale)
        await pulse(session.open, opening)
        await ctx.tick()
        assert not ctx.get(session.stale)
        for executed in range(1, 60):
            for sequence in range(256):
                ctx.set(session.sequence, sequence)
                await ctx.tick()
                behind = (opening + executed - sequence) % 256
                verdict = (ctx.get(session.fresh), ctx.get(session.repeated))
                assert verdict == (behind == 0, 1 <= behind <= min(executed, wire.WINDOW)), (executed, sequence)
            await pulse(session.advance, opening + executed)
        ctx.set(session.session, 6)
        await ctx.tick()
        assert ctx.get(session.stale)

    simulate(session, bench)


@pytest.mark.parametrize("name", ["tiny", "medium"])
def test_access_decides_like_the_protocol(name):
    config = preset(name)
    access, rng = Access(config), random.Random(9)

    def expected(reads, target, payload):
        memory = config.memories.get(target["space"])
        if memory is None or reads and target["space"] not in wire.READABLE:
            return Error.SPACE
        if target["bank"] >= memory.banks:
            return Error.BANK
        size = memory.bytes_per_word
        count = target["count"] if reads else payload / size
        if count != int(count) or not 0 < count <= wire.MAX_PAYLOAD / size:
            return Error.LENGTH
        return Error.ADDRESS if target["address"] + count > memory.depth else 0

    def choose():
        space = rng.randrange(8)
        memory = config.memories.get(space, config.memories[0])
        count = rng.choice((0, 1, 2, 9, wire.MAX_PAYLOAD // memory.bytes_per_word, 300, 65535))
        target = {
            "space": space, "bank": rng.choice((0, memory.banks - 1, memory.banks % 256)), "count": count,
            "address": max(0, rng.choice((0, memory.depth - count, memory.depth - count + 1, 65535))),
        }
        return target, min(1020, rng.choice((count * memory.bytes_per_word, rng.randrange(1021))))

    async def bench(ctx):
        seen = set()
        for _ in range(300):
            (target, payload), reads = choose(), rng.randrange(2)
            for port, value in ((access.target, target), (access.payload, payload), (access.reads, reads)):
                ctx.set(port, value)
            ctx.set(access.start, 1)
            await ctx.tick()
            ctx.set(access.start, 0)
            for _ in range(wire.MAX_PAYLOAD + 8):
                await ctx.tick()
                if ctx.get(access.done):
                    break
            assert ctx.get(access.done), "the check must end"
            error = expected(reads, target, payload)
            assert ctx.get(access.error) == error, (reads, target, payload)
            seen.add(error)
            if not error:
                size = config.memories[target["space"]].bytes_per_word
                assert ctx.get(access.bytes) == (target["count"] * size if reads else payload)
        assert seen == {0, Error.SPACE, Error.BANK, Error.LENGTH, Error.ADDRESS}

    simulate(access, bench)


def test_target_holds_the_wire_address():
    address = wire.Address(3, 0x12, 0x3456).pack() + (0x789A).to_bytes(2, "little")
    target = TARGET.from_bits(int.from_bytes(address, "little"))
    assert (target.space, target.bank, target.address, target.count) == (3, 0x12, 0x3456, 0x789A)


def test_epoch_is_caught_once_and_differs_with_time():
    caught = []
    for delay in (1, 2, 50):
        epoch = Epoch()

        async def bench(ctx, epoch=epoch, delay=delay):
            await ctx.tick().repeat(delay)
            ctx.set(epoch.catch, 1)
            await ctx.tick()
            first = ctx.get(epoch.epoch)
            await ctx.tick().repeat(9)
            assert ctx.get(epoch.epoch) == first
            caught.append(first)

        simulate(epoch, bench)
    assert len(set(caught)) == 3
    assert 0 not in caught


def test_word_width_is_the_widest_memory():
    config = preset("small-2x2").replace(word=96, row_lanes=8, sum_bits=48)
    assert word_bits(config) == 192
    assert write_layout(config).size == 4 + 8 + 16 + 192


def test_verilog_is_the_same_every_time():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = verilog(Uart(25_000_000, 1_000_000)), verilog(Uart(25_000_000, 1_000_000))
        assert first == second
        assert "module top(" in first
        assert verilog(Uart(25_000_000, 1_000_100)) != first
