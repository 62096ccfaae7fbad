"""What all tests share."""

import os

# Amaranth writes Verilog with its own small Yosys, whatever else is installed.
os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")
