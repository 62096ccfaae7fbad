"""What the blocks need to know of the FPGA family they are built for."""

from amaranth.vendor import LatticeECP5Platform, XilinxPlatform


def has_lut6(platform) -> bool:
    """7-series LUT primitives can be instantiated."""
    return isinstance(platform, XilinxPlatform)


def has_multipliers(platform) -> bool:
    """Inferred products may use hard multipliers: not on Xilinx, where the open flow configures DSP48E1 wrongly."""
    return isinstance(platform, LatticeECP5Platform)
