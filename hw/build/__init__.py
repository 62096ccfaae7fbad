"""`python -m hw.build`: from a configuration and a board to Verilog, a resource table and, tools allowing, a bitstream.

`cli` reads the command line, `job` walks the stages, `design` wraps the accelerator for the board, `flow` is what
a family's flow must do and `ecp5` and `xc7` do it, `tools` finds and runs programs, `report` counts and prints,
`blocks` says which part of the accelerator uses what, `placement` draws it and `page` shows all of it in a browser.
"""
