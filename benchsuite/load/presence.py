"""Whether the servers under test are there, and how long a sweep waits for them to come back."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import httpx

_POLL_S = 0.5


class Presence:
    """Asks the servers beside the load. ended: whether a server that we started ourselves has ended."""

    def __init__(self, control: httpx.Client, base_urls: Sequence[str], ended: Callable[[], bool]) -> None:
        self._control, self._base_urls = control, tuple(base_urls)
        self.ended = ended

    def answers(self) -> bool:
        """True if every server answers, and not that it cannot serve."""
        if self.ended():
            return False
        try:
            return all(self._control.get(f"{url}/v1/models").status_code < 500 for url in self._base_urls)
        except httpx.HTTPError:
            return False

    def wait_for_return(self, most_s: float, on_wait: Callable[[float], bool]) -> str | None:
        """Wait until every server answers, `most_s` at most; why not, in words, or None when they are back.

        on_wait: told the seconds so far; True gives up.
        """
        started_s = time.monotonic()
        while not self.answers():
            elapsed_s = time.monotonic() - started_s
            stop = on_wait(elapsed_s)
            if self.ended():
                return "the server has ended"
            if stop or elapsed_s >= most_s:
                return f"the server did not come back within {most_s:g} s (--server-wait-s)"
            time.sleep(_POLL_S)
        return None
