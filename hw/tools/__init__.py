"""`python -m hw.tools`: which tools of the builds are here, and a private installation of those for Artix-7.

`archive` fetches packages from Debian's suite sid without touching the system, `pins` says which, `xc7` unpacks the
parts that are needed into a prefix, `cli` reads the command line.
"""
