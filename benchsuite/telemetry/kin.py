"""Which processes are the server's: those it was started as, and their descendants."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import psutil  # type: ignore[import-untyped]


def listeners(ports: Iterable[int]) -> tuple[int, ...]:
    """The processes that listen on TCP ports of this machine, as far as this user may know. Raises nothing."""
    wanted = set(ports)
    try:
        sockets = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return ()
    found = [one.pid for one in sockets if one.status == psutil.CONN_LISTEN and one.laddr.port in wanted and one.pid]
    return tuple(dict.fromkeys(found))


class Kin:
    """A server's processes. pids: those known to be its; none: then of no process it is known whose it is."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = tuple(pids)
        self._known: dict[int, bool | None] = {}

    def foreign(self, pids: Iterable[int]) -> int | None:
        """How many of the processes are not the server's; None if that cannot be known of all."""
        here = set(pids)
        self._known = {pid: known for pid, known in self._known.items() if pid in here}  # pids are used again
        verdicts = [self.has(pid) for pid in here]
        return None if None in verdicts else verdicts.count(False)

    def has(self, pid: int) -> bool | None:
        """True if the process is the server's; None if there is no such process here (another PID namespace)."""
        if not self._pids:
            return None
        if pid not in self._known:
            self._known[pid] = self._find(pid)
        return self._known[pid]

    def _find(self, pid: int) -> bool | None:
        if pid in self._pids:
            return True
        try:
            ancestors = {parent.pid for parent in psutil.Process(pid).parents()}
        except psutil.NoSuchProcess:
            return None
        except psutil.AccessDenied:
            ancestors = set()
        return bool(ancestors.intersection(self._pids)) or self._leads(pid)

    def _leads(self, pid: int) -> bool:
        """True if a server process leads the group of this one, which may have outlived what is between."""
        try:
            return os.getpgid(pid) in self._pids
        except OSError:
            return False

    def environments(self) -> list[dict[str, str]]:
        """The environments with which the server's processes and their descendants were started, where readable."""
        found = []
        for pid in self._pids:
            try:
                process = psutil.Process(pid)
                members = [process, *process.children(recursive=True)]
            except psutil.Error:
                continue
            for member in members:
                try:
                    found.append(member.environ())
                except (psutil.Error, OSError):
                    continue
        return found
