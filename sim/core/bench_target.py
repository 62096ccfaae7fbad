"""`TargetWalk` against the layout formula of `hw.arch.isa.Target`."""

import cocotb

from hw.arch.config import Config
from hw.arch.isa import Target
from sim.helpers import cycles, generator, settings, start


@cocotb.test()
async def target_pixels(dut):
    """Bank and address of every pixel, with gaps between steps and none."""
    config, rng = Config.from_json(str(settings()["config"])), generator()
    lanes = config.pixel_lanes
    await start(dut, target=0, begin=0, step=0)
    for _ in range(12):
        phases, pitch, pixel_words = rng.randint(1, 4), rng.randint(1, 3 * lanes), rng.randint(1, 6)
        phase_words = rng.randint(0, 100)
        target = Target(
            base=rng.randint(0, 500), pixel_words=pixel_words, channel_words=1, columns=rng.randint(1, 9),
            phases=phases, phase_words=phase_words, phase_row_words=phases * phase_words,
            pitch_words=pitch // lanes * pixel_words, pitch_banks=pitch % lanes)
        dut.target.value = target.pack()
        await cycles(dut, 1)
        dut.begin.value = 1
        await cycles(dut, 1)
        dut.begin.value = 0
        for pixel in range(40):
            await cycles(dut, 1)
            y, x = divmod(pixel, target.columns)
            q = y // phases * pitch + x // phases
            address = target.base + (y % phases * phases + x % phases) * phase_words + q // lanes * pixel_words
            bank = int(dut.bank.value) if lanes > 1 else 0
            assert (bank, int(dut.address.value)) == (q % lanes, address), (target, pixel)
            await cycles(dut, rng.randint(0, 2))
            dut.step.value = 1
            await cycles(dut, 1)
            dut.step.value = 0
