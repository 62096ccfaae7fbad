"""cocotb benches of `hw.link`."""
