"""What the command lines of hw have in common: exit statuses, and errors as one sentence."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

SUCCESS, FAILURE, USAGE, INTERRUPTED = 0, 1, 2, 130


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence that begins with the module's name.

    Parameters
    ----------
    prog : str, "python -m MODULE"
    """

    def error(self, message: str) -> NoReturn:
        module = self.prog.removeprefix("python -m ").split()[0]
        print(f"{module}: {message} (--help lists the options)", file=sys.stderr)
        raise SystemExit(USAGE)


def status(module: str, run: Callable[[], int], errors: tuple[type[Exception], ...], interrupted: str) -> int:
    """The exit status of `run`; one of `errors` is a sentence and FAILURE, Ctrl-C says what is left behind."""
    try:
        return run()
    except errors as error:
        print(f"{module}: {error}", file=sys.stderr)
        return FAILURE
    except KeyboardInterrupt:
        print(f"\n{module}: interrupted; {interrupted}", file=sys.stderr)
        return INTERRUPTED
