"""The check-up of the machine's sockets: kernel receive stamps and ports, tried on loopback."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from benchsuite.client.stamps import ANCILLARY_BYTES, ask, realtime_ns
from benchsuite.telemetry.findings import Finding, judged

_TRIES, _SLACK_NS = 20, 100_000
_SETTLE_S = 0.05  # the kernel switches stamping on a moment after the first socket asks for it
_REMEDY = "none needed: reads are stamped by the process, later by as much as its loop is busy; see `calibrate`"


def stamps() -> Finding:
    """Whether the kernel stamps what comes in, and rightly: after it was sent, before it was read."""
    try:
        lags_ns = next((lags for _ in range(3) if (lags := _try_stamps())), [])
    except OSError as error:
        return Finding("machine", "kernel stamps", "fail", f"loopback does not work: {error}", "ip link set lo up")
    if not lags_ns:
        return Finding("machine", "kernel stamps", "warn", "the kernel gives no receive stamps", _REMEDY)
    wrong = [lag for lag in lags_ns if lag is None]
    right = sorted(lag for lag in lags_ns if lag is not None)
    if wrong:
        found = f"{len(wrong)} of {len(lags_ns)} stamps lie outside of the time in which the bytes came"
        return Finding("machine", "kernel stamps", "warn", found, "benchsuite calibrate shows what it does to TTFT")
    found = f"{len(right)} of {_TRIES} reads on loopback stamped, {right[len(right) // 2] / 1000:.0f} us before ours"
    return judged("machine", "kernel stamps", found, (len(right) < _TRIES - 1, "warn", _REMEDY))


def _try_stamps() -> list[int | None]:
    """How long before the read each stamp is (ns), None for one that cannot be right; empty where none come."""
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as sock:
        if not ask(sock):
            return []
        sock.settimeout(2.0)
        sock.connect(listening.getsockname())
        peer, _ = listening.accept()
        found: list[int | None] = []
        with peer:
            time.sleep(_SETTLE_S)
            for _ in range(_TRIES):
                sent_ns = time.time_ns()
                peer.send(b"x")
                _, ancillary, _, _ = sock.recvmsg(64, ANCILLARY_BYTES)
                read_ns = time.time_ns()
                if ancillary:
                    stamp_ns = realtime_ns(ancillary)
                    right = sent_ns - _SLACK_NS <= stamp_ns <= read_ns + _SLACK_NS
                    found.append(read_ns - stamp_ns if right else None)
    return found


def ports(level: int, root: Path = Path("/")) -> Finding:
    """Local ports for the highest level's connections, if none were kept alive."""
    try:
        low, high = map(int, (root / "proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split())
    except (OSError, ValueError):
        low, high = 32768, 60999  # Linux's default
    n_ports = high - low + 1
    remedy = 'sysctl -w net.ipv4.ip_local_port_range="10240 65535"'
    return judged(
        "machine", "ports", f"{n_ports:,} for connections of {level:,} users", (n_ports < 10 * level, "warn", remedy)
    )
