"""ECP5 with Yosys, nextpnr-ecp5 and ecppack, all from pip."""

from .plan import PlanFlow
from .report import Usage


class ECP5(PlanFlow):
    """From an Amaranth platform with the Trellis toolchain to a bitstream."""

    tools = ("nextpnr-ecp5", "ecppack")
    toolchain = "Trellis"
    # Wide muxes and the classic mapper cost twice the LUTs on popcount trees.
    synthesis = "-abc9 -nowidelut"
    constraints = "top.lpf"
    bitstream = "top.bit"
    weights = {
        "LUT4": Usage(1, 0, 0, 0),
        "CCU2C": Usage(2, 0, 0, 0),
        "TRELLIS_DPR16X4": Usage(6, 0, 0, 0),  # four LUTs of data, two whose inputs carry the write port
        "TRELLIS_FF": Usage(0, 1, 0, 0),
        "DP16KD": Usage(0, 0, 18, 0),
        "PDPW16KD": Usage(0, 0, 18, 0),
        "MULT18X18D": Usage(0, 0, 0, 1),
    }
    ignored = frozenset({
        "PFUMX", "L6MUX21", "TRELLIS_IO", "IB", "OB", "OBZ", "BB", "SGSR", "GSR", "DCCA", "EHXPLLL", "VHI", "VLO",
    })
