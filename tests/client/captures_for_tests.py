"""What real servers said, byte for byte (tests/data/captures), and whole streams read at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchsuite.client.stream import StreamFacts, stream_steps

FOLDER = Path(__file__).parents[1] / "data" / "captures"


def capture(name: str) -> bytes:
    """The body of a capture, its status line and headers taken off."""
    content = (FOLDER / f"{name}.txt").read_bytes()
    return content.split(b"\r\n\r\n", 1)[1] if content.startswith(b"HTTP/") else content


def read_stream(body: bytes, body_ends: Sequence[int], stamps_ns: Sequence[int], **how: bool) -> StreamFacts:
    """The facts of a streamed body. body_ends[i]: body bytes received up to read i, stamped stamps_ns[i]."""
    facts = StreamFacts()
    for _ in stream_steps(facts, body, body_ends, stamps_ns, **how):
        pass
    return facts


def by_byte(body: bytes, **how: bool) -> StreamFacts:
    """The facts of a body that came one byte a read, read i stamped i: a stamp is then a count of bytes."""
    reads = range(1, len(body) + 1)
    return read_stream(body, reads, reads, **how)
