"""Memory that a training step frees and takes again."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # malloc.h


def keep() -> bool:
    """Let memory that is freed stay with this process until it ends; whether the C library can do that (glibc).

    Every step takes tensors of the same sizes. By default glibc returns them to the system, which hands them out again
    page by page, cleared: a third of the time of a small convolution's step.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_TRIM_THRESHOLD, -1) and mallopt(_MMAP_MAX, 0))
