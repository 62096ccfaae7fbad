"""Floor 0: what hardware, compiler, emulator and driver agree on. Standard library only.

`config` names an accelerator, `isa` its instructions, `wire` its link, `numerics` its arithmetic and
`timing` its cycles. Nothing here is rendered into a second copy: everyone uses these objects.
"""
