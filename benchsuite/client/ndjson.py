"""Newline-delimited JSON, as Ollama's native routes stream it: one object a line. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from benchsuite.client.reading import is_json


def json_lines(body: bytes) -> Iterator[tuple[bytes, int]]:
    """(line, offset behind its newline) of each line that is not blank.

    A last line without newline counts if it is whole; a torn one is no event, and no error either.
    """
    end = 0
    *whole, rest = body.split(b"\n")
    for line in whole:
        end += len(line) + 1
        if line.strip():
            yield line, end
    if rest.strip() and is_json(rest):
        yield rest, end + len(rest)
