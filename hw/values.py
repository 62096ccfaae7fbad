"""The memory of residual values of one pixel lane: what is added to sums, and what is kept of them."""

from amaranth.hdl import C, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.arch.config import VALUE_BITS, Config
from hw.arch.isa import Values
from hw.layouts import access_layout, layout_of
from hw.pipeline import delayed

KEEP = 6  # an access to the write port of the memory with what is kept


class ValueLane(wiring.Component):
    """Values of all chains of a pixel lane, one word per channel of the chain.

    Members
    -------
    values : the layer's set-up; holds while accesses are under way
    access : a channel's word
    addends : V * 2^shift of every chain, two cycles after `access`; 0 without `values.add`
    sums : X of every chain, four cycles after `access`; kept in the word's place with `values.keep`
    idle : the memory is the host's
    host : a write, done in the next cycle
    probe, word : an address to read, and its word in the next cycle
    """

    def __init__(self, config: Config):
        self._config = config
        numbers = data.ArrayLayout(signed(config.sum_bits), config.chains)
        bits = config.chains * VALUE_BITS
        super().__init__({
            "values": In(layout_of(Values)), "access": In(access_layout(config)),
            "addends": Out(numbers), "sums": In(numbers), "idle": In(1),
            "host": In(data.StructLayout({"enable": 1, "address": range(config.value_depth), "data": bits})),
            "probe": In(range(config.value_depth)), "word": Out(bits),
        })

    def elaborate(self, platform):
        m = Module()
        config, values, shift = self._config, self.values, self.values.shift
        m.submodules.memory = memory = Memory(
            shape=config.chains * VALUE_BITS, depth=config.value_depth, init=[])
        read, write = memory.read_port(), memory.write_port()
        m.d.comb += [read.addr.eq(Mux(self.idle, self.probe, self.access.address)), self.word.eq(read.data)]
        kept = delayed(m, self.access, KEEP - 1, "kept")
        m.d.sync += [
            write.addr.eq(Mux(self.idle, self.host.address, kept.address)),
            write.en.eq(Mux(self.idle, self.host.enable, kept.valid & values.keep)),
        ]
        for chain in range(config.chains):
            place = slice(chain * VALUE_BITS, (chain + 1) * VALUE_BITS)

            # To the sum's grid: the shift by 0..15 is two by four, with a register in between.
            part = Signal(signed(VALUE_BITS + 3), name=f"part{chain}")
            m.d.sync += part.eq(Mux(values.add, self.word[place].as_signed() << shift[:2], 0))
            m.d.comb += self.addends[chain].eq(part << Cat(C(0, 2), shift[2:]))

            # And back, saturated.
            floor = Signal(signed(max(config.sum_bits, VALUE_BITS + 1)), name=f"floor{chain}")
            m.d.sync += floor.eq(self.sums[chain] >> shift)
            negative, high = floor[-1], floor[VALUE_BITS - 1 :]
            fits = ~(high ^ negative.replicate(len(high))).any()
            extreme = Cat((~negative).replicate(VALUE_BITS - 1), negative)
            value = Mux(negative & values.rectify, 0, Mux(fits, floor[:VALUE_BITS], extreme))
            m.d.sync += write.data[place].eq(Mux(self.idle, self.host.data[place], value))
        return m
