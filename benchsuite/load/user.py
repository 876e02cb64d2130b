"""One virtual user of a closed loop: takes an index, sends, hands the exchange over, takes the next."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from benchsuite.client.exchange import Exchange, WireError
from benchsuite.clock import now_ns
from benchsuite.load.first_token import has_token
from benchsuite.load.seats import Seat, Spare

if TYPE_CHECKING:
    from benchsuite.load.generator import PointLoad

# a user whose request found nobody waits before the next one: twice as long each time, 256 requests in a minute at most
_BACK_OFF_S, _MOST_BACK_OFF_S = 0.02, 0.25
# what a user's task may raise after its point was aborted
CANCELLED = WireError("cancelled", "the run was stopped")


class User:
    """One virtual user. driver, route: those of the request in flight, its own between requests."""

    __slots__ = (
        "_exchange", "_first_sent_ns", "_load", "_pausing", "_route", "_seat", "_task", "_told_ns", "_vain", "driver"
    )  # fmt: skip

    def __init__(self, load: PointLoad, seat: Seat) -> None:
        self._load, self._seat = load, seat
        self._route, self.driver = seat.route, seat.driver
        self._first_sent_ns = 0
        self._task: asyncio.Task[None] | None = None
        self._exchange: Exchange | None = None
        self._told_ns = 0  # when the request was sent that is known to have a token
        self._vain = 0  # requests in a row that found nobody
        self._pausing: asyncio.TimerHandle | None = None

    def next(self, free_ns: int) -> None:
        """Take the next request and send it; leave when there is none."""
        load = self._load
        index = load.take()
        if index is None:
            load.left()
            return
        exchange = self._exchange = Exchange(index, free_ns)
        exchange.on_done = self._ended
        spare = self._seat.spare
        if spare is not None and spare.full():
            load.state.fallback_skips += 1
            self._route, self.driver = spare.route, spare.driver
        self._send(exchange)

    def _send(self, exchange: Exchange) -> None:
        if self.driver.is_open and self._load.pause is None:
            self.driver.send(self._route.requests[exchange.index].wire, exchange)
        else:
            self._task = self._load.loop.create_task(self._send_when_ready(exchange))
            self._task.add_done_callback(partial(self._never_began, exchange))

    def _never_began(self, exchange: Exchange, task: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step runs no line of its own: its request is a row all the same."""
        if task.cancelled():
            self._task = None
            exchange.error = CANCELLED
            self._ended(exchange)

    async def _send_when_ready(self, exchange: Exchange) -> None:
        """Wait for the rate's leave and for a connection, then send."""
        load = self._load
        try:
            if load.pause is not None and not self._first_sent_ns:  # a refused request goes on at once
                await load.pause()
                if load.stopping:
                    raise CANCELLED
            if not self.driver.is_open:
                await self.driver.open()
        except WireError as error:
            exchange.error = error
        except asyncio.CancelledError:
            exchange.error = CANCELLED
        self._task = None
        if exchange.error is not None:
            exchange.closed_ns = self.driver.free_ns
            self._ended(exchange)
        else:
            self.driver.send(self._route.requests[exchange.index].wire, exchange)

    def _ended(self, exchange: Exchange) -> None:
        if exchange.error is not None and exchange.error.stale and exchange.retries == 0:
            exchange.reset_for_retry()
            self._send(exchange)
            return
        route, free_ns, spare = self._route, self.driver.free_ns, self._seat.spare
        if spare is not None:
            if self.driver is not spare.driver and spare.refuses(exchange):
                self._turn_to(spare, exchange)
                return
            if self._first_sent_ns:  # for the user the request began with the try that was refused
                exchange.sent_ns, self._first_sent_ns = self._first_sent_ns, 0
            self._route, self.driver = self._seat.route, self._seat.driver
        self._exchange = None
        self._load.finished(exchange, route)
        if _found_nobody(exchange) and not self._load.stopping:
            self._back_off()
        else:
            self._vain = 0
            self.next(free_ns or now_ns())

    def _back_off(self) -> None:
        """Pause: a server that is not there fails thousands of requests a second, and none of them measures it."""
        load = self._load
        pause_s = min(_BACK_OFF_S * 2**self._vain, _MOST_BACK_OFF_S)
        self._vain = min(self._vain + 1, 16)
        load.state.back_offs += 1
        load.state.back_off_s += pause_s
        self._pausing = load.loop.call_later(pause_s, self._after_pause)

    def _after_pause(self) -> None:
        self._pausing = None
        self.next(now_ns())  # it was not free before

    def tokenless(self, at_ns: int, limit_ns: int) -> str | None:
        """Why the request in flight should be given up for want of a token, or None."""
        exchange = self._exchange
        if exchange is None or self._task is not None or not exchange.sent_ns or not self._route.context.streaming:
            return None
        if at_ns - exchange.sent_ns <= limit_ns or self._told_ns == exchange.sent_ns:
            return None
        if has_token(exchange):
            self._told_ns = exchange.sent_ns
            return None
        return f"no token for {limit_ns / 1e9:g} s"

    def _turn_to(self, spare: Spare, exchange: Exchange) -> None:
        """Send the same request to the spare endpoint, now."""
        self._load.state.fallback_tries += 1
        self._first_sent_ns = exchange.sent_ns
        exchange.retries, exchange.error, exchange.closed_ns = 0, None, 0
        exchange.reset()
        self._route, self.driver = spare.route, spare.driver
        self._send(exchange)

    def abort(self, status: str, message: str) -> None:
        """Give up what is in flight, also a connection that is being made."""
        if self._pausing is not None:
            self._pausing.cancel()
            self._pausing = None
            self._load.left()
        elif self._task is not None:
            self._task.cancel()
        else:
            self.driver.abort(status, message)

    def close(self) -> None:
        """Close its connections."""
        self._seat.driver.close()
        if self._seat.spare is not None:
            self._seat.spare.driver.close()


def _found_nobody(exchange: Exchange) -> bool:
    """True if the request was refused a connection, or its connection ended before a byte of a response."""
    error = exchange.error
    return error is not None and not exchange.stamps and error.status in ("connect_error", "stream_error")
