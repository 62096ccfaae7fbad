"""`python -m sw`: see `sw.cli`."""

import sys

from sw.cli import main

if __name__ == "__main__":
    sys.exit(main())
