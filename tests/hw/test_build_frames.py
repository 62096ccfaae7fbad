"""The FASM assembler on a hand-made database, and against Project X-Ray's own reader where that is installed."""

import json
import random
import subprocess
from pathlib import Path

import pytest

from hw.build.errors import BuildError
from hw.build.frames import FRAME_WORDS, Database, assemble, features, write
from hw.build.tools import find
from hw.build.xc7 import database, undated

GRID = {
    "CLB_X0Y0": {"type": "CLB", "bits": {
        "CLB_IO_CLK": {"baseaddr": "0x00400100", "frames": 3, "offset": 4, "words": 2},
    }},
    "CLB_X0Y1": {"type": "CLB", "bits": {
        "CLB_IO_CLK": {"baseaddr": "0x00400100", "frames": 3, "offset": 6, "words": 2},
    }},
    "RAM_X0Y0": {"type": "RAM", "bits": {
        "CLB_IO_CLK": {"baseaddr": "0x00400200", "frames": 1, "offset": 0, "words": 1},
        "BLOCK_RAM": {"baseaddr": "0x00c00000", "frames": 2, "offset": 10, "words": 2},
    }},
    "IO_SING": {"type": "IO_SING", "bits": {"CLB_IO_CLK": {
        "baseaddr": "0x00400300", "frames": 1, "offset": 99, "words": 2,
        "alias": {"type": "IO", "start_offset": 2, "sites": {"IOB_Y0": "IOB_Y1"}},
    }}},
    "NULL": {"type": "NULL", "bits": {}},
}


@pytest.fixture
def tiny(tmp_path):
    (tmp_path / "die").mkdir()
    (tmp_path / "die" / "tilegrid.json").write_text(json.dumps(GRID))
    (tmp_path / "segbits_clb.db").write_text(
        "CLB.LUT.INIT[00] 00_00\nCLB.LUT.INIT[01] 00_33\nCLB.LUT.INIT[02] 01_63\n"
        "CLB.FF.ZINI 02_05 !02_06\nCLB.FF.LATCH 02_06\nCLB.PIP.A.B 01_01 01_02\n"
    )
    (tmp_path / "ppips_clb.db").write_text("CLB.PIP.A.VCC always\n")
    (tmp_path / "segbits_ram.db").write_text("RAM.MODE 00_31\n")
    (tmp_path / "segbits_ram.block_ram.db").write_text("RAM.INIT_0F[010] 01_40\n")
    (tmp_path / "segbits_io.db").write_text("IO.IOB_Y1.PULL 00_100\nIO.IOB_Y0.PULL 00_01\n")
    return Database(tmp_path, "die")


def words(frames):
    """Nonzero words as {(address, word): value}."""
    return {(address, i): word for address, frame in frames.items() for i, word in enumerate(frame) if word}


def test_every_frame_of_the_die_is_written(tiny):
    frames = assemble(tiny, "")
    assert sorted(frames) == [0x400100, 0x400101, 0x400102, 0x400200, 0x400300, 0xC00000, 0xC00001]
    assert all(frame == [0] * FRAME_WORDS for frame in frames.values())


@pytest.mark.parametrize(("fasm", "expected"), [
    ("CLB_X0Y0.LUT.INIT[2:0] = 3'b011", {(0x400100, 4): 1, (0x400100, 5): 2}),
    ("CLB_X0Y1.LUT.INIT[2:0] = 3'b100  # a comment", {(0x400101, 7): 1 << 31}),
    ("CLB_X0Y1.LUT.INIT[2:1] = 2'b10", {(0x400101, 7): 1 << 31}),
    ("CLB_X0Y0.LUT.INIT[1]", {(0x400100, 5): 2}),
    ("CLB_X0Y0.LUT.INIT[2:0] = 3'h4", {(0x400101, 5): 1 << 31}),
    ("CLB_X0Y0.LUT.INIT[2:0] = 3'b0_0_1", {(0x400100, 4): 1}),
    ("CLB_X0Y0.FF.ZINI", {(0x400102, 4): 1 << 5}),
    ("CLB_X0Y0.FF.ZINI[0] = 1'b1", {(0x400102, 4): 1 << 5}),
    ("CLB_X0Y0.FF.ZINI = 1'b0", {}),
    ("CLB_X0Y0.PIP.A.B\nCLB_X0Y1.PIP.A.B", {(0x400101, 4): 6, (0x400101, 6): 6}),
    ("CLB_X0Y0.PIP.A.VCC", {}),
    ("RAM_X0Y0.INIT_0F[15:0] = 16'b0000010000000000\nRAM_X0Y0.MODE", {(0xC00001, 11): 1 << 8, (0x400200, 0): 1 << 31}),
    # An aliased tile: site Y0 is the other type's Y1, whose bits start two words in.
    ("IO_SING.IOB_Y0.PULL", {(0x400300, 100): 1 << 4}),
    ("\n# nothing\n", {}),
])
def test_bits(tiny, fasm, expected):
    assert words(assemble(tiny, fasm)) == expected


@pytest.mark.parametrize(("fasm", "sentence"), [
    ("CLB_X9Y9.FF.ZINI", "the tile CLB_X9Y9 is not in the device database"),
    ("CLB_X0Y0.FF.NONE", r"the feature CLB_X0Y0.FF.NONE is not in the device database"),
    ("CLB_X0Y0.LUT.INIT[3]", "the feature CLB_X0Y0.LUT.INIT is not in the device database"),
    ("CLB_X0Y0.FF.ZINI[1]", "the feature CLB_X0Y0.FF.ZINI is not in the device database"),
    ("CLB_X0Y0.FF.ZINI\n;garbage", "line 2 of the router's FASM is not understood: ;garbage"),
    ("CLB_X0Y0.FF.ZINI = x", "line 1 of the router's FASM is not understood"),
    ("CLB_X0Y0.FF.ZINI\nCLB_X0Y0.FF.LATCH", "bit 6 of word 4 in frame 0x00400102 is wanted both set and clear"),
])
def test_refusals(tiny, fasm, sentence):
    with pytest.raises(BuildError, match=f"^{sentence}"):
        assemble(tiny, fasm)


def test_features():
    assert list(features("T.A.B[3:0] = 4'b1010\nT.C = 0\nT.D\nT.E[7]")) == [
        ("T", "A.B", 1), ("T", "A.B", 3), ("T", "D", None), ("T", "E", 7),
    ]


def test_file_format(tiny, tmp_path):
    write(assemble(tiny, "CLB_X0Y0.LUT.INIT[0]"), tmp_path / "frames")
    lines = (tmp_path / "frames").read_text().splitlines()
    assert len(lines) == 7
    assert lines[0] == "0x00400100 " + ",".join(["0x00000000"] * 4 + ["0x00000001"] + ["0x00000000"] * 96)


def test_date_is_removed():
    stamped = b"\0\x01b\0\x02x\0c\0\x0b2026/11/23\0d\0\x0903:55:32\0e\0data"
    assert undated(stamped) == b"\0\x01b\0\x02x\0c\0\x0b1970/01/01\0d\0\x0900:00:00\0e\0data"


@pytest.mark.skipif(
    database() is None or find("xc7frames2bit") is None, reason="needs prjxray and its database (ABACUS_XC7_PREFIX)"
)
@pytest.mark.parametrize("seed", [1, 2])
def test_bitstream_reads_back_as_assembled(tmp_path, seed):
    """Random LUT contents through the real database and writer; Project X-Ray's reader must return every bit."""
    writer = find("xc7frames2bit")
    rng = random.Random(seed)
    real = Database(database(), "xc7a50t")
    tiles = sorted(name for name, tile in real.grid.items() if tile["type"] == "CLBLL_L")
    fasm = "\n".join(
        f"{tile}.SLICEL_X{rng.randrange(2)}.{rng.choice('ABCD')}LUT.INIT[63:0] = 64'h{rng.getrandbits(64):X}"
        for tile in rng.sample(tiles, 50)
    )
    frames = assemble(real, fasm)
    write(frames, tmp_path / "top.frames")
    part = "xc7a35tcsg324-1"
    part_file = str(database() / part / "part.yaml")
    subprocess.run(
        [writer, "--part_file", part_file, "--part_name", part, "--frm_file", "top.frames", "--output_file", "top.bit"],
        cwd=tmp_path, check=True, capture_output=True,
    )
    reader = str(Path(writer).with_name("bitread"))
    subprocess.run(
        [reader, "--part_file", part_file, "-o", "bits", "-z", "-y", "top.bit"], cwd=tmp_path, check=True,
        capture_output=True,
    )
    # Lines are bit_FRAME_WORD_BIT; word 50 carries the ECC that the writer adds.
    read = {tuple(int(x, base) for x, base in zip(line.split("_")[1:], (16, 10, 10), strict=True))
            for line in (tmp_path / "bits").read_text().split()}
    wanted = {(address, word, bit) for (address, word), value in words(frames).items() for bit in range(32)
              if value >> bit & 1}
    assert len(wanted) > 1000
    assert {entry for entry in read if entry[1] != 50} == wanted
