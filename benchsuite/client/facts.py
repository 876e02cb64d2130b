"""What one response said: the value that every stream format is read into."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class StreamFacts:
    """What one response said. Times are ns on the stamps' clock; None if the thing never came.

    token_ns: one stamp a token-bearing event. malformed: why an event could not be read. server_error: the message of
    an error event. done: the format's own end was seen (`[DONE]`, Ollama's `done`).
    queue_s, prefill_s, decode_s, cached_tokens: what the server says of its own work, outside `usage`.
    """

    token_ns: array[int] = field(default_factory=lambda: array("q"))
    first_answer_ns: int | None = None
    n_empty: int = 0
    merged_reads: int = 0
    usage: dict[str, Any] | None = None
    finish_reason: str | None = None
    response_id: str | None = None
    done: bool = False
    server_error: str | None = None
    malformed: str | None = None
    text: list[str] = field(default_factory=list)
    queue_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
    cached_tokens: int | None = None
