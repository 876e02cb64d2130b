"""The run's one clock: CLOCK_MONOTONIC in integer nanoseconds, its anchor to wall time, and the kernel's timestamps.

The kernel's timestamps of received bytes are CLOCK_REALTIME. NTP slews both and steps only CLOCK_REALTIME, so the
offset between them is constant but for steps. It is measured by bracketing one clock's read with two of the
other's.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

now_ns = time.monotonic_ns
NS_PER_S = 1_000_000_000
# what recvmsg() must be given for ancillary data
ANCILLARY_BYTES = socket.CMSG_SPACE(48) if hasattr(socket, "CMSG_SPACE") else 0
_SO_TIMESTAMPING = 37
_RX_SOFTWARE = 0x18  # SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE
_TIMESPEC = struct.Struct("=qq")


def request_kernel_timestamps(sock: socket.socket) -> bool:
    """Have the kernel stamp when the bytes of each read came in, best before `sock` connects; True if it will.

    Linux, any user; loopback and network cards. Bytes that merged in the receive queue carry the last segment's stamp.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _RX_SOFTWARE)
    except OSError:
        return False
    return True


def kernel_timestamp_ns(ancillary: Sequence[tuple[int, int, bytes]]) -> int:
    """The CLOCK_REALTIME stamp in the ancillary data of one recvmsg() that has some."""
    seconds, nanoseconds = _TIMESPEC.unpack_from(ancillary[0][2])
    stamp_ns: int = seconds * NS_PER_S + nanoseconds
    return stamp_ns


def realtime_offset_ns(samples: int = 20) -> int:
    """CLOCK_REALTIME minus CLOCK_MONOTONIC in ns: the sample with the narrowest bracket of `samples`."""
    best_width, best = None, 0
    for _ in range(samples):
        before = time.monotonic_ns()
        wall = time.time_ns()
        after = time.monotonic_ns()
        if best_width is None or after - before < best_width:
            best_width, best = after - before, wall - (before + after) // 2
    return best


@dataclass(frozen=True, slots=True)
class Anchor:
    """Ties the monotonic clock to wall time: both read at the same instant (ns)."""

    monotonic_ns: int
    wall_ns: int

    @classmethod
    def now(cls) -> Anchor:
        mono = time.monotonic_ns()
        return cls(mono, mono + realtime_offset_ns())


@dataclass(frozen=True, slots=True)
class ClockMark:
    """How the clocks stand to each other: what a suspended machine or a stepped wall clock changes."""

    realtime_offset_ns: int
    suspended_ns: int | None  # since boot: CLOCK_BOOTTIME minus CLOCK_MONOTONIC; None where that is unknown

    @classmethod
    def now(cls) -> ClockMark:
        suspended_ns = None
        if hasattr(time, "CLOCK_BOOTTIME"):
            before = time.monotonic_ns()
            boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            suspended_ns = boot_ns - (before + time.monotonic_ns()) // 2
        return cls(realtime_offset_ns(), suspended_ns)

    def suspended_since_s(self, earlier: ClockMark) -> float | None:
        """Seconds that the machine was suspended since `earlier`; None where that is unknown."""
        if self.suspended_ns is None or earlier.suspended_ns is None:
            return None
        return (self.suspended_ns - earlier.suspended_ns) / NS_PER_S

    def stepped_since_s(self, earlier: ClockMark) -> float:
        """By how much wall time was set forward since `earlier` (backward: negative), besides what suspension explains.

        While a machine is suspended CLOCK_MONOTONIC stands still and wall time goes on: that is no step.
        """
        moved_s = (self.realtime_offset_ns - earlier.realtime_offset_ns) / NS_PER_S
        return moved_s - (self.suspended_since_s(earlier) or 0.0)
