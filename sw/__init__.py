"""The software: training, integer graph, compiler, emulator, driver and command line."""
