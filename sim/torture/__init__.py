"""Torture of the host and the link: every module measures some rows of docs/reliability.md.

`python -m sim.torture NAME` runs one, see `sim.torture.figures` for what a module provides.
"""
