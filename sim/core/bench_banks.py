"""`Banks` against dictionaries: whole and partial writes to one bank, reads of all."""

import cocotb

from hw.arch.config import Memory
from sim.core.surroundings import flat, split
from sim.helpers import cycles, generator, settings, start


@cocotb.test()
async def random_accesses(dut):
    """A word read is what was written last, part by part, one cycle after its address."""
    shape, granularity = Memory(*settings()["shape"]), int(settings()["granularity"])
    parts, rng = shape.bits // granularity, generator()
    words = [[0] * shape.depth for _ in range(shape.banks)]
    width = (shape.depth - 1).bit_length()
    late = 0, 0, 0, 0  # the write that takes effect in this cycle: bank, address, word, mask
    await start(dut, write_bank=0, write_address=0, write_data=0, write_enable=0, read_address=0)
    for _ in range(400):
        bank, address, data = rng.randrange(shape.banks), rng.randrange(shape.depth), rng.getrandbits(shape.bits)
        enable = rng.choice((0, (1 << parts) - 1, rng.getrandbits(parts)))
        reads = [rng.randrange(shape.depth) for _ in range(shape.banks)]
        dut.write_bank.value, dut.write_address.value, dut.write_data.value = bank, address, data
        dut.write_enable.value, dut.read_address.value = enable, flat(reads, width)
        await cycles(dut, 1)
        found = split(int(dut.read_data.value), shape.bits, shape.banks)
        for b, (word, read) in enumerate(zip(found, reads, strict=True)):
            if (b, read) != late[:2] or not late[3]:
                assert word == words[b][read]
        store(words, *late)
        late = bank, address, data, flat([-(enable >> n & 1) for n in range(parts)], granularity)
    dut.write_enable.value = 0
    await cycles(dut, 1)
    store(words, *late)
    for address in range(shape.depth):
        dut.read_address.value = flat([address] * shape.banks, width)
        await cycles(dut, 1)
        assert split(int(dut.read_data.value), shape.bits, shape.banks) == [bank[address] for bank in words]


def store(words, bank, address, word, mask):
    words[bank][address] = words[bank][address] & ~mask | word & mask
