"""Layouts of the streams and signals between the link (`hw.link.endpoint`) and the core (`hw.core`)."""

from amaranth.lib import data

from hw.arch.config import Config

SPACE_BITS = 4
BANK_BITS = 8
ADDRESS_BITS = 16
BYTE = 8


def word_bits(config: Config) -> int:
    """Bits of the widest host-addressable memory word: the width of write and read data."""
    return max(memory.bits for memory in config.memories.values())


def write_layout(config: Config) -> data.StructLayout:
    """One word to store: memory `space`, `bank`, word `address` and `data` (low bits, zero above the word)."""
    return data.StructLayout({
        "space": SPACE_BITS, "bank": BANK_BITS, "address": ADDRESS_BITS, "data": word_bits(config),
    })


def read_layout() -> data.StructLayout:
    """One word to fetch; the core answers every request in order with a word of `word_bits`, zero-extended."""
    return data.StructLayout({"space": SPACE_BITS, "bank": BANK_BITS, "address": ADDRESS_BITS})


def status_layout() -> data.StructLayout:
    """State of the core, as `wire.Status` reports it: `busy` while a frame runs, the sticky `fault` and its address,
    `cycles` of the last frame, of these `waited` for the intake, and `frames` finished since reset."""
    return data.StructLayout({"busy": 1, "fault": 8, "fault_address": 16, "cycles": 32, "waited": 32, "frames": 32})
