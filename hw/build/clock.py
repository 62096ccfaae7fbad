"""The core's clock: the board's oscillator as it is, or through the part's PLL."""

from amaranth import ClockSignal, Const, Elaboratable, Instance, Module, Signal
from amaranth.lib import io
from amaranth.lib.cdc import ResetSynchronizer

from boards import Board, Pll

from .errors import BuildError


def ecp5(pll: Pll, board: Board, clock: Signal, output: Signal, locked: Signal) -> Instance:
    """EHXPLLL with feedback from its own output; phase shifting stays off."""
    return Instance(
        "EHXPLLL",
        a_ICP_CURRENT="12", a_LPF_RESISTOR="8", a_MFG_ENABLE_FILTEROPAMP="1", a_MFG_GMCREF_SEL="2",
        a_FREQUENCY_PIN_CLKI=f"{board.clock_hz / 1e6:g}",
        a_FREQUENCY_PIN_CLKOP=f"{board.clock_hz * pll.multiplier / pll.input_divider / 1e6:g}",
        p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED", p_DPHASE_SOURCE="DISABLED",
        p_OUTDIVIDER_MUXA="DIVA", p_OUTDIVIDER_MUXB="DIVB", p_OUTDIVIDER_MUXC="DIVC", p_OUTDIVIDER_MUXD="DIVD",
        p_CLKI_DIV=pll.input_divider, p_CLKFB_DIV=pll.multiplier, p_CLKOP_DIV=pll.output_divider,
        p_CLKOP_ENABLE="ENABLED", p_CLKOP_CPHASE=pll.output_divider - 1, p_CLKOP_FPHASE=0, p_FEEDBK_PATH="CLKOP",
        i_CLKI=clock, i_CLKFB=output, i_RST=0, i_STDBY=0, i_PHASESEL0=0, i_PHASESEL1=0, i_PHASEDIR=1,
        i_PHASESTEP=1, i_PHASELOADREG=1, i_PLLWAKESYNC=0, i_ENCLKOP=0, o_CLKOP=output, o_LOCK=locked,
    )


def xc7(pll: Pll, board: Board, clock: Signal, output: Signal, locked: Signal) -> Module:
    """PLLE2_BASE and the global buffer behind it."""
    m = Module()
    made, feedback = Signal(), Signal()
    m.submodules.pll = Instance(
        "PLLE2_BASE",
        p_CLKIN1_PERIOD=1e9 / board.clock_hz, p_DIVCLK_DIVIDE=pll.input_divider, p_CLKFBOUT_MULT=pll.multiplier,
        p_CLKOUT0_DIVIDE=pll.output_divider, p_STARTUP_WAIT="FALSE",
        i_CLKIN1=clock, i_CLKFBIN=feedback, i_RST=0, i_PWRDWN=0,
        o_CLKFBOUT=feedback, o_CLKOUT0=made, o_LOCKED=locked,
    )
    m.submodules.buffer = Instance("BUFG", i_I=made, o_O=output)
    return m


def gowin(pll: Pll, board: Board, clock: Signal, output: Signal, locked: Signal) -> Instance:
    """rPLL with feedback from its own output."""
    return Instance(
        "rPLL",
        p_DEVICE=board.part.die, p_FCLKIN=f"{board.clock_hz / 1e6:g}", p_IDIV_SEL=pll.input_divider - 1,
        p_FBDIV_SEL=pll.multiplier - 1, p_ODIV_SEL=pll.output_divider, p_CLKFB_SEL="internal", p_DYN_IDIV_SEL="false",
        p_DYN_FBDIV_SEL="false", p_DYN_ODIV_SEL="false", p_DYN_SDIV_SEL=2, p_DYN_DA_EN="false", p_PSDA_SEL="0000",
        p_DUTYDA_SEL="1000", p_CLKOUT_FT_DIR=1, p_CLKOUTP_FT_DIR=1, p_CLKOUT_DLY_STEP=0, p_CLKOUTP_DLY_STEP=0,
        p_CLKOUT_BYPASS="false", p_CLKOUTP_BYPASS="false", p_CLKOUTD_BYPASS="false", p_CLKOUTD_SRC="CLKOUT",
        p_CLKOUTD3_SRC="CLKOUT",
        i_CLKIN=clock, i_CLKFB=0, i_RESET=0, i_RESET_P=0, i_FBDSEL=Const(0, 6), i_IDSEL=Const(0, 6),
        i_ODSEL=Const(0, 6), i_PSDA=Const(0, 4), i_DUTYDA=Const(0, 4), i_FDLY=Const(0, 4), o_CLKOUT=output,
        o_LOCK=locked,
    )


PRIMITIVES = {"ecp5": ecp5, "gowin": gowin, "xc7": xc7}


class CoreClock(Elaboratable):
    """Drives domain `sync`, which its parent defines, through the PLL; in reset until that locks and by the button.

    The router derives the constraint of its output from that of the oscillator's pin.

    Parameters
    ----------
    board : Board
        Its platform gives oscillator and reset button.
    clock_hz : int
        One of the board's `core_clocks`, not its oscillator's own frequency; else `BuildError`.
    """

    def __init__(self, board: Board, clock_hz: int) -> None:
        pll = board.pll(clock_hz)
        if pll is None:
            raise BuildError(f"{board.title} has no clock of {clock_hz:,} Hz")
        self.board = board
        self.pll = pll

    def elaborate(self, platform):
        m = Module()
        output, locked, reset = Signal(), Signal(), Signal()
        m.submodules.pin = pin = io.Buffer("i", platform.request(platform.default_clk, dir="-"))
        make = PRIMITIVES[self.board.part.family]
        m.submodules.pll = make(self.pll, self.board, pin.i, output, locked)
        if platform.default_rst is not None:
            m.submodules.button = button = io.Buffer("i", platform.request(platform.default_rst, dir="-"))
            m.d.comb += reset.eq(button.i)
        m.d.comb += ClockSignal().eq(output)
        m.submodules.reset = ResetSynchronizer(reset | ~locked)
        return m
