"""File descriptors of this process: how many are open, how many may be."""

from __future__ import annotations

import os
import resource


def open_descriptors() -> int | None:
    """How many are open now; None where /proc does not tell."""
    try:
        return len(os.listdir("/proc/self/fd")) - 1  # noqa: PTH208 - the listing's own descriptor is not counted
    except OSError:
        return None


def raise_limit(wanted: int) -> int:
    """Raise this process's soft limit (`ulimit -n`) to at least `wanted` where the hard limit lets it.

    Returns the limit that holds then. Processes that are started later inherit it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    reached = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (reached, hard))
    except (OSError, ValueError):  # a kernel with a lower limit of its own
        return soft
    return reached
