"""The blocks whose netlists are proved to be their RTL, as small as they can be without losing a feature.

Memories are registers in these proofs and products logic, so there are few words and narrow products. Depths are powers
of two: what a read of a word that does not exist gives is nobody's business, and a netlist need not agree about it.
Left out are `Core`, `Endpoint` and `Top`, which only connect these blocks and registers.
"""

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.lib import wiring

from hw.arch.config import Space, preset
from hw.array import Array, Column
from hw.combine import Combine, Maximum
from hw.dot import Dot
from hw.drain import Drain
from hw.feeder import Feeder, LaneAddresses
from hw.intake import Intake
from hw.issuer import Issuer
from hw.link.access import Access
from hw.link.cobs import Decoder
from hw.link.cobs import Encoder as Stuffing
from hw.link.executor import Executor
from hw.link.frames import Deframer, Framer
from hw.link.replies import Epoch, Words
from hw.link.ring import Ring as ByteRing
from hw.link.session import Session
from hw.link.uart import Receiver, Transmitter
from hw.loader import Loader
from hw.memory import Banks
from hw.multiply import Multiplier
from hw.packer import Packer, Raster, Windows
from hw.popcount import MatchCount
from hw.queue import Buffer, Queue
from hw.rounds import Rounds
from hw.sequencer import Sequencer
from hw.threshold import Comparer, Threshold
from hw.values import ValueLane
from hw.walk import LaneWalk, TargetWalk
from hw.writer import Encoder, Writer

TINY = preset("tiny").replace(
    word=8, weight_depth=8, activation_depth=8, tap_depth=4, coefficient_depth=8, threshold_depth=8, program_depth=8,
    value_depth=8, result_depth=8, image_depth=8, accumulator_bits=6, coefficient_bits=4, sum_bits=12)
PLANES = TINY.replace(M=2, N=2, row_lanes=8, column_lanes=4, chain=4)
RATES = 25_000_000, 3_000_000  # clock and baud
BYTES = 16  # of the link's rings


@dataclass(frozen=True)
class Block:
    """A block of the picture in docs/architecture.md, or a part of one."""

    name: str
    make: Callable[[], wiring.Component]
    size: str = "tiny"


BLOCKS = (
    # Datapath.
    Block("MatchCount", lambda: MatchCount(24, 1), "24 bits"),
    Block("MatchCount", lambda: MatchCount(64, 1), "64 bits"),
    Block("Dot", lambda: Dot(TINY)),
    Block("Multiplier", lambda: Multiplier(6, 6), "6 by 6 bits"),
    Block("Maximum", lambda: Maximum(14, 3), "3 values"),
    Block("Combine", lambda: Combine(TINY, 0)),
    Block("Combine", lambda: Combine(PLANES, 1), "tiny-2x2"),
    Block("Column", lambda: Column(TINY, 0)),
    Block("Array", lambda: Array(TINY)),
    Block("Threshold", lambda: Threshold(TINY)),
    Block("ValueLane", lambda: ValueLane(TINY.replace(sum_bits=20)), "tiny, sums of 20 bits"),  # that all bits are used
    Block("Banks", lambda: Banks(TINY.memories[Space.ACTIVATIONS], TINY.channel_lanes)),
    # Control.
    Block("Rounds", lambda: Rounds(6), "6 bits"),
    Block("Sequencer", lambda: Sequencer(TINY)),
    Block("Issuer", lambda: Issuer(TINY)),
    Block("LaneWalk", lambda: LaneWalk(TINY)),
    Block("TargetWalk", lambda: TargetWalk(TINY)),
    Block("LaneAddresses", lambda: LaneAddresses(TINY)),
    Block("Feeder", lambda: Feeder(TINY)),
    Block("Drain", lambda: Drain(TINY)),
    Block("Drain", lambda: Drain(PLANES), "tiny-2x2"),
    Block("Comparer", lambda: Comparer(TINY)),
    Block("Encoder", lambda: Encoder(TINY)),
    Block("Writer", lambda: Writer(TINY)),
    Block("Raster", Raster, "whole"),
    Block("Windows", lambda: Windows(TINY)),
    Block("Packer", lambda: Packer(TINY)),
    Block("Loader", lambda: Loader(TINY)),
    Block("Intake", lambda: Intake(TINY)),
    # Link.
    Block("Buffer", lambda: Buffer(8), "8 bits"),
    Block("Queue", lambda: Queue(8, 5), "5 bytes"),
    Block("link.Ring", lambda: ByteRing(BYTES), f"{BYTES} bytes"),
    Block("link.Receiver", lambda: Receiver(*RATES), "whole"),
    Block("link.Transmitter", lambda: Transmitter(*RATES), "whole"),
    Block("link.Decoder", Decoder, "whole"),
    Block("link.Encoder", Stuffing, f"ring of {BYTES} bytes"),
    Block("link.Deframer", Deframer, f"ring of {BYTES} bytes"),
    Block("link.Framer", Framer, f"ring of {BYTES} bytes"),
    Block("link.Session", Session, "whole"),
    Block("link.Access", lambda: Access(TINY)),
    Block("link.Epoch", Epoch, "whole"),
    Block("link.Words", lambda: Words(TINY)),
    Block("link.Executor", lambda: Executor(TINY)),
)
