"""When a point is given up: its server is gone, or more requests failed than are allowed. Exact over all workers.

A few integers in shared memory: every worker notes its rows, whoever notes the one that is too many trips the breaker,
and all see it within 10 ms.
"""

from __future__ import annotations

from typing import Any

from benchsuite.records import RequestRecord

_LEAST_STREAK = 20
_STREAK, _FAILED, _TRIPPED, _STREAK_LIMIT, _FAILED_LIMIT = range(5)
_WHOLE, _GONE, _TOO_MANY, _ENDED = range(4)
_NO_LIMIT = 2**62


def found_nobody(row: RequestRecord) -> bool:
    """True if no server was there for the request: no connection, or one that ended before a byte of a response."""
    if row.status == "timeout":
        return row.sent_s is None
    return row.status == "connect_error" or (row.status == "stream_error" and row.n_reads == 0 and not row.http_status)


class Breaker:
    """Counts a point's failures. `arm` before a point, `note` each row, then `reason`.

    numbers: a multiprocessing Array("q", 5) with a lock.
    """

    def __init__(self, numbers: Any) -> None:
        self._lock, self._at = numbers.get_lock(), numbers.get_obj()
        self._numbers = numbers

    def __getstate__(self) -> Any:
        return self._numbers

    def __setstate__(self, numbers: Any) -> None:
        Breaker.__init__(self, numbers)

    def arm(self, n_users: int, max_failed: int | None) -> None:
        """Count from 0. The point is given up when the last max(2 n_users, 20) requests found nobody, in the order in
        which they ended, or when more than max_failed failed in any way (None: any number may)."""
        limits = max(2 * n_users, _LEAST_STREAK), _NO_LIMIT if max_failed is None else max_failed
        self._at[:] = [0, 0, _WHOLE, *limits]

    def note(self, row: RequestRecord) -> None:
        """Count a row. A request that we gave up ourselves says nothing of the server."""
        at = self._at
        if row.status == "cancelled" or (row.status == "ok" and not at[_STREAK]):
            return
        with self._lock:
            at[_STREAK] = at[_STREAK] + 1 if found_nobody(row) else 0
            at[_FAILED] += row.status != "ok"
            if at[_TRIPPED] == _WHOLE:
                if at[_FAILED] > at[_FAILED_LIMIT]:
                    at[_TRIPPED] = _TOO_MANY
                elif at[_STREAK] >= at[_STREAK_LIMIT]:
                    at[_TRIPPED] = _GONE

    def trip(self) -> None:
        """The server's process is known to have ended."""
        with self._lock:
            self._at[_TRIPPED] = self._at[_TRIPPED] or _ENDED

    @property
    def tripped(self) -> bool:
        """True once the point is given up."""
        return bool(self._at[_TRIPPED])

    @property
    def streak(self) -> int:
        """How many of the last requests in a row found nobody."""
        return int(self._at[_STREAK])

    @property
    def reason(self) -> str | None:
        """Why the point was given up, in words; None if it was not."""
        match self._at[_TRIPPED]:
            case 1:
                return f"the server is gone: the last {self._at[_STREAK_LIMIT]} requests found no connection"
            case 2:
                return f"more than {self._at[_FAILED_LIMIT]} of its requests failed (--max-errors)"
            case 3:
                return "the server's process ended"
        return None
