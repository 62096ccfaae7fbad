"""cocotb benches of the core's blocks and of whole networks."""
