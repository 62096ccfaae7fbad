"""Benchmarks: area, cycles and clock of the accelerator beside its peers' figures (`python -m sim.bench`)."""
