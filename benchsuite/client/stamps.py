"""Kernel receive stamps: when the bytes of a read came in, whenever the process got to them. Linux, any user.

Bytes that merged in the receive queue carry the stamp of the last segment. Known on loopback and on network cards;
elsewhere `ask` says no, and the caller stamps in user space.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Sequence

_SO_TIMESTAMPING = 37
_RX_SOFTWARE = 0x18  # SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE
_TIMESPEC = struct.Struct("=qq")

# what recvmsg() must be given for ancillary data
ANCILLARY_BYTES = socket.CMSG_SPACE(48) if hasattr(socket, "CMSG_SPACE") else 0


def ask(sock: socket.socket) -> bool:
    """Ask for stamps on `sock`, best before it connects; True if they will come."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, _RX_SOFTWARE)
    except OSError:
        return False
    return True


def realtime_ns(ancillary: Sequence[tuple[int, int, bytes]]) -> int:
    """The CLOCK_REALTIME stamp in the ancillary data of one recvmsg() that has some."""
    seconds, nanoseconds = _TIMESPEC.unpack_from(ancillary[0][2])
    stamp_ns: int = seconds * 1_000_000_000 + nanoseconds
    return stamp_ns
