"""The accelerator: its architecture (`hw.arch`), its blocks in Amaranth, and the build."""
