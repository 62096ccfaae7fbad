"""Simulation: cocotb benches of every block, their runner, and the virtual board."""
