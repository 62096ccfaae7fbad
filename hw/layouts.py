"""Names of the bundles that travel between the blocks of the core, each field declared once."""

from amaranth.hdl import signed, unsigned
from amaranth.lib import data

from hw.arch.config import Config
from hw.arch.packed import Packed, fields_of


def layout_of(cls: type[Packed]) -> data.StructLayout:
    """The fields of an instruction or tap as an Amaranth layout, bit for bit what `pack` makes."""
    return data.StructLayout({
        name: (signed if spec["signed"] else unsigned)(spec["width"]) for name, spec in fields_of(cls)
    })


def pass_layout() -> data.StructLayout:
    """Where a pass stands in its layer. `row_end` marks the last pixel group of a row group."""
    return data.StructLayout({
        "first_pass": 1, "final_pass": 1, "first_position": 1, "final_position": 1, "row_end": 1,
    })


def count_shape(config: Config) -> range:
    """Bits of a word that take part, those in an upper half 2^N times in a split layer."""
    return range(max(config.word, (config.word // 2) * (1 + (1 << config.N) if config.splits else 0)) + 1)


def issue_layout(config: Config) -> data.StructLayout:
    """One word to process, as the sequencer issues it.

    `swap` marks the first word of a pixel group, `clear` the first of a pass, `shift` the first of a fused activation
    pass that is not the pass's first, `last` the last of a pass; `place` and `split` hold for the whole pass.
    `inner` is the word's offset inside a pixel, `count` its number of channels in use, weighed as they count.
    """
    return data.StructLayout({
        "valid": 1, "swap": 1, "clear": 1, "shift": 1, "last": 1, "tap": range(config.tap_depth), "inner": 12,
        "weight": 16, "count": count_shape(config), "split": 1, "place": pass_layout(),
    })


def step_layout(config: Config) -> data.StructLayout:
    """What travels with the operands along the columns; the accumulators' commands."""
    return data.StructLayout({
        "clear": 1, "shift": 1, "last": 1, "count": count_shape(config), "split": 1, "place": pass_layout(),
    })


def slot_layout() -> data.StructLayout:
    """A drain slot without its coefficients."""
    return data.StructLayout({"valid": 1, "first_plane": 1, "last_plane": 1, "last": 1, "place": pass_layout()})


def drain_layout(config: Config) -> data.StructLayout:
    """What travels with the values drained from a column: one chain slot and its coefficients.

    `first_plane` and `last_plane` delimit the M slots of a channel, `last` is the pass's last slot. Coefficients are
    [chain][activation plane].
    """
    return data.StructLayout({
        **slot_layout().members,
        "coefficients": data.ArrayLayout(
            data.ArrayLayout(signed(config.coefficient_bits), config.N), config.chains),
    })


def compare_layout(config: Config) -> data.StructLayout:
    """What travels along the pixel lanes to the threshold units.

    `load` takes over the sums that are complete. `advance` adds the value at hand to the sum at the head, and a cycle
    later `take` makes it the one that is compared, plus the threshold word if `bias`. `compare` counts one threshold,
    `next` with it ends the channel, `done` publishes the levels.
    """
    return data.StructLayout({
        "load": 1, "advance": 1, "take": 1, "bias": 1, "compare": 1, "next": 1, "done": 1,
        "thresholds": data.ArrayLayout(signed(config.sum_bits), config.chains),
    })


def access_layout(config: Config) -> data.StructLayout:
    """What travels along the pixel lanes to the value memories: the word at `address`, used if `valid`."""
    return data.StructLayout({"valid": 1, "address": range(max(2, config.value_depth))})


CODE_BITS = 64  # one half of the code table


def code_layout() -> data.ArrayLayout:
    """Both halves of the code table, as `Code` brings them."""
    return data.ArrayLayout(CODE_BITS, 2)
