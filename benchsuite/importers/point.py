"""What an importer reads out of another tool's result file: facts in our words, as far as it has them. Values only.

An importer is a pure function `parse(text, where=...)` from a file's text to its points.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from benchsuite.records import Status, TokenSource


@dataclass(frozen=True, slots=True)
class ImportedRequest:
    """One request of another tool's run. Meanings as in `benchsuite.records.RequestRecord`; None: the file lacks it.

    *_s: seconds on the tool's own clock, any origin. chunk_gap_us: microseconds, None if single chunks were not kept.
    """

    request_id: str
    status: Status
    sent_s: float | None
    first_token_s: float | None
    last_token_s: float | None
    closed_s: float | None
    scheduled_s: float | None = None
    headers_s: float | None = None
    first_answer_s: float | None = None
    chunk_gap_us: tuple[int, ...] | None = None
    n_chunks: int | None = None
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    token_source: TokenSource | None = None
    http_status: int | None = None
    error: str | None = None
    response_id: str | None = None


@dataclass(frozen=True, slots=True)
class ImportedPoint:
    """One level of another tool's run.

    concurrency: None where the file does not tell. definitions: where its facts mean something else than ours.
    facts: what else the file says about itself, for the manifest. chat: which endpoint; None if unknown.
    """

    tool: str
    where: str
    model: str | None
    concurrency: int | None
    requests: tuple[ImportedRequest, ...]
    definitions: tuple[str, ...]
    chat: bool | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def status_of_error(error: str | None) -> tuple[Status, int | None]:
    """The class of a failure, and its HTTP status where the text has one, from a Python client's error text."""
    text = error or ""
    found = re.search(r"(?:[Ss]tatus(?: code)?[=:' ]+|error ['\"])([45]\d\d)\b", text)
    if found:
        return "http_error", int(found[1])
    last = text.strip().rpartition("\n")[2]  # of a traceback the last line names the exception
    if re.search(r"[Tt]imeout|[Tt]imed out", last):
        return "timeout", None
    if re.search(r"Connect(or|ion)?(DNS|Certificate)?Error|Cannot connect|ConnectionRefused|connection attempts", last):
        return ("stream_error" if "reset" in last.lower() else "connect_error"), None
    return "stream_error", None
