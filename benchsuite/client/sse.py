"""Server-sent events: the framing of a streamed completion. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from benchsuite.client.reading import is_json

_BOM = b"\xef\xbb\xbf"  # a stream may begin with one, says the SSE standard


def sse_events(body: bytes) -> Iterator[tuple[bytes, int]]:
    """(payload, offset behind the event) of each SSE event with data, comments and other fields left out."""
    end = len(_BOM) if body.startswith(_BOM) else 0
    body = body[end:]
    if b"\r" in body:
        yield from _events_by_line(body, end)
        return
    *whole, rest = body.split(b"\n\n")
    for event in whole:
        end += len(event) + 2
        if event.startswith(b"data: ") and b"\n" not in event:
            yield event[6:], end
        elif (payload := _payload(event.split(b"\n"))) is not None:
            yield payload, end
    if rest and (payload := _payload(rest.split(b"\n"))) is not None and (payload == b"[DONE]" or is_json(payload)):
        yield payload, end + len(rest)


def _events_by_line(body: bytes, end: int) -> Iterator[tuple[bytes, int]]:
    """The same for line ends CR LF or CR, which SSE allows."""
    lines: list[bytes] = []
    for raw in body.splitlines(keepends=True):  # bytes split at \n, \r and \r\n only
        end += len(raw)
        line = raw.rstrip(b"\r\n")
        if line:
            lines.append(line)
            continue
        if (payload := _payload(lines)) is not None:
            yield payload, end
        lines = []
    if (payload := _payload(lines)) is not None and (payload == b"[DONE]" or is_json(payload)):
        yield payload, end


def _payload(lines: list[bytes]) -> bytes | None:
    data = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
    return b"\n".join(data) if data else None
