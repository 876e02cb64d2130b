"""Whether a token of a response that still runs has come. Looked at only when its first token is overdue."""

from __future__ import annotations

from benchsuite.client.exchange import Exchange, WireError
from benchsuite.client.stream import read_stream


def has_token(exchange: Exchange) -> bool:
    """True if a token came among what was received. Headers, roles, comments and pings are none."""
    try:
        exchange.feed()
    except WireError:  # no HTTP; its row will say so
        return False
    body = b"".join(exchange.body_parts)
    facts = read_stream(body, exchange.body_ends, exchange.stamps, ndjson=exchange.ndjson)
    return len(facts.token_ns) > 0
