"""The run's one clock: CLOCK_MONOTONIC in integer nanoseconds, its anchor to wall time, and the kernel's timestamps.

The kernel's timestamps of received bytes are CLOCK_REALTIME. NTP slews both and steps only CLOCK_REALTIME, so the
offset between them is constant but for steps. It is measured by bracketing one clock's read with two of the
other's. Wall time itself is for people alone: no wait, order or duration hangs on it.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

now_ns = time.monotonic_ns
NS_PER_S = 1_000_000_000
# what recvmsg() must be given for ancillary data
ANCILLARY_BYTES = socket.CMSG_SPACE(48) if hasattr(socket, "CMSG_SPACE") else 0
_SO_TIMESTAMPING = 37
_RX_SOFTWARE = 0x18  # SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE
_TIMESPEC = struct.Struct("=qq")
_STEP_NS, _DRIFT = 50_000, 1000  # what is a step: this and more than a thousandth of the time since the last look
_PROBE_NS = 100_000  # a stamp so far outside of its probe is on another clock


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


def realtime_offset_ns() -> int:
    """CLOCK_REALTIME minus CLOCK_MONOTONIC in ns: of 20 samples that with the narrowest bracket."""
    best_width, best = None, 0
    for _ in range(20):
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        if best_width is None or after - before < best_width:
            best_width, best = after - before, wall - (before + after) // 2
    return best


def stamp_lags_ns(n: int, offset_ns: int, wait_s: float = 0.0) -> list[int | None]:
    """How long before our read the kernel stamped each of n datagrams to ourselves; fewer where none come.

    None: a stamp outside of the time that the datagram took. wait_s: at most, for the first stamp: the kernel begins a
    moment after a socket has asked, if no other had. Raises OSError where there is no loopback.
    """
    lags_ns: list[int | None] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, contextlib.suppress(BlockingIOError):
        sock.bind(("127.0.0.1", 0))
        sock.connect(sock.getsockname())
        sock.setblocking(False)
        asked, until_ns = request_kernel_timestamps(sock), now_ns() + int(wait_s * NS_PER_S)
        while asked and now_ns() < until_ns:
            sock.send(b"x")
            if sock.recvmsg(1, ANCILLARY_BYTES)[1]:
                break
            time.sleep(0.001)
        for _ in range(n if asked else 0):
            before = now_ns()
            sock.send(b"x")
            _, ancillary, _, _ = sock.recvmsg(1, ANCILLARY_BYTES)
            after = now_ns()
            if ancillary:
                stamp_ns = kernel_timestamp_ns(ancillary) - offset_ns
                lags_ns.append(after - stamp_ns if before - _PROBE_NS <= stamp_ns <= after + _PROBE_NS else None)
    return lags_ns


class StampClock:
    """The clock of the kernel's stamps: how it stands to ours, and which stamps hold.

    Those of an exchange that was sent after `doubted_ns` do: no step came between their taking and our look.
    """

    def __init__(self) -> None:
        self.offset_ns, self._looked_ns = realtime_offset_ns(), now_ns()  # CLOCK_REALTIME minus CLOCK_MONOTONIC
        self.steps = 0  # jumps of the wall clock
        self.contradicted = False  # the stamps left a wall clock that stood, unseen for up to a second
        self._doubt(0)

    def _doubt(self, until_ns: int) -> None:
        self.usable = self._stamps_hold()
        self.doubted_ns = until_ns if self.usable else 2**63

    def _stamps_hold(self) -> bool:
        with contextlib.suppress(OSError):
            return {*stamp_lags_ns(3, self.offset_ns)} != {None}
        return True  # nothing speaks against them

    def look(self, *, probe: bool = False) -> None:
        """See whether the wall clock was set: to be called every few milliseconds, and before a row is made.

        probe: also whether the stamps are of that clock, about once a second.
        """
        before, wall, after = now_ns(), time.time_ns(), now_ns()
        if abs(wall - (before + after) // 2 - self.offset_ns) > 1000 + after - before:
            offset_ns = realtime_offset_ns()
            moved_ns, self.offset_ns = offset_ns - self.offset_ns, offset_ns
            if abs(moved_ns) > _STEP_NS + (after - self._looked_ns) // _DRIFT:
                self.steps += 1
                self._doubt(now_ns())
        self._looked_ns = after
        if probe and self.usable and not self._stamps_hold():
            steps = self.steps
            self.look()  # it may have been set just now
            if self.steps == steps:
                self.contradicted = True
                self._doubt(now_ns())


def boot_id() -> str | None:
    """What tells this boot of the machine, and its monotonic clock, from others; None where the system does not."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None


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

    def changes_since(self, earlier: ClockMark) -> dict[str, float | None]:
        """Both, as a manifest has them."""
        return {"suspended_s": self.suspended_since_s(earlier), "wall_step_s": self.stepped_since_s(earlier)}
