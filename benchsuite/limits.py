"""Every limit on what others send: bytes, items, depth and seconds in one table, with the flag or key that moves it.

docs/guide/reference.md shows the table; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

KIB, MIB = 1024, 1024 * 1024


class Limit(NamedTuple):
    """most: the value, in `unit`. bounds: what may not be more. beyond: what becomes of it. flag: or key, moves it."""

    most: int
    unit: str
    bounds: str
    beyond: str
    flag: str = ""


_FAILS = "the request is a `stream_error`"
_LATE = "the request is a `timeout`"
_CUT = "the rest is left out"
_IGNORED = "is not read"

TABLE = {
    # a response under load
    "response_bytes": Limit(64 * MIB, "bytes", "a response, headers and framing included; also its body decoded",
                            _FAILS, "response.max_mib"),
    "held_bytes": Limit(160 * MIB, "bytes", "all responses of a measuring process that are not rows yet; each is held "
                        "twice", _FAILS, "response.held_mib"),
    "header_bytes": Limit(128 * KIB, "bytes", "a response's headers, interim responses included", _FAILS,
                          "response.header_kib"),
    "line_bytes": Limit(16 * KIB, "bytes", "chunk sizes with their extensions, and trailers, without a byte of the "
                        "body between", _FAILS),
    "event_bytes": Limit(8 * MIB, "bytes", "one JSON text: an event of a stream, or a whole response", _FAILS,
                         "response.event_mib"),
    "event_values": Limit(250_000, "values", "commas, colons, brackets and escapes of one JSON text", _FAILS,
                          "response.event_values"),
    "event_lines_bytes": Limit(64 * KIB, "bytes", "an event of several lines", "is read as several events"),
    "events": Limit(2_000_000, "events", "a stream", _FAILS),
    "unread_pieces": Limit(64, "pieces", "lines of a stream that belong to no event", _IGNORED),
    "choices": Limit(128, "choices", "an event; also the parts of a message", _CUT),
    "parts_depth": Limit(8, "levels", "nested parts of a message", _IGNORED),
    "error_bytes": Limit(4 * MIB, "bytes", "an error's body as JSON", "is read as text"),
    "error_text_bytes": Limit(16 * KIB, "bytes", "an error's body as text", _CUT),
    # what is kept of it
    "kept_chars": Limit(256, "characters", "an id, model name, version, finish_reason or header", _CUT),
    "error_chars": Limit(2000, "characters", "an error in a row", _CUT),
    "text_chars": Limit(1_000_000, "characters", "a response's text in a row (`--save-text`)", _CUT),
    "texts_bytes": Limit(64 * MIB, "bytes", "all texts of a point and process that a tokenizer counts",
                         "are not counted"),
    # a server's other routes
    "answer_bytes": Limit(4 * MIB, "bytes", "a response outside the load: models, versions, settings", _IGNORED),
    "answer_s": Limit(30, "seconds", "such a response", _IGNORED),
    "page_s": Limit(5, "seconds", "a page of metrics", _IGNORED),
    "page_bytes": Limit(16 * MIB, "bytes", "a page of metrics", _IGNORED),
    "page_samples": Limit(20_000, "samples", "the known samples of a page of metrics", _CUT),
    "page_line_bytes": Limit(64 * KIB, "bytes", "a line of such a page", _IGNORED),
    "devices": Limit(1024, "devices", "GPUs and their instances on a page of DCGM", _CUT),
    "models": Limit(2000, "models", "a list of models", _CUT, "--model"),
    "facts": Limit(100, "facts", "what a server reports about itself", _CUT),
    "problems": Limit(100, "problems", "problems of telemetry in the manifest", _CUT),
    "judged_chars": Limit(32_000, "characters", "an answer as a judge sees it", "its middle is left out"),
    "verdict_s": Limit(300, "seconds", "a judge's response", "it is asked again"),
    "json_line_bytes": Limit(MIB, "bytes", "a progress line while a server downloads a model", "the download fails"),
    # waits for it
    "connect_s": Limit(10, "seconds", "a connection", _LATE, "--connect-timeout-s"),
    "first_token_s": Limit(300, "seconds", "the first token; as the next limit if only that is set", _LATE,
                           "--first-token-timeout-s"),
    "idle_s": Limit(300, "seconds", "silence in a response", _LATE, "--idle-timeout-s"),
    "request_s": Limit(1800, "seconds", "a request", _LATE, "--request-timeout-s"),
    "doctor_s": Limit(30, "seconds", "the first token, and silence, of a request of `doctor`; twice that for all of it",
                      "the check fails", "--first-token-timeout-s"),
    "silent_end_s": Limit(5, "seconds", "silence after a finish_reason", "the stream has ended (`silent_end`)"),
    "recovery_s": Limit(60, "seconds", "a server that is down, between points", "the sweep ends",
                        "--server-recovery-timeout-s"),
    # files
    "file_bytes": Limit(512 * MIB, "bytes", "a specification, plan, table, price list or another tool's results",
                        "the file is refused"),
    "toml_chars": Limit(4 * MIB, "characters", "a specification, matrix, plan or price list in TOML",
                        "the file is refused"),
    "toml_parts": Limit(100, "parts", "a dotted key in it", "the file is refused"),
    "slo_chars": Limit(4 * KIB, "characters", "an SLO with its per-request limits", "it is refused"),
    "profile_chars": Limit(256 * KIB, "characters", "a rate profile, or its table", "it is refused"),
    "manifest_bytes": Limit(64 * MIB, "bytes", "the manifest of a run, the plan of a matrix", "the folder is refused"),
    "row_chars": Limit(256 * MIB, "characters", "a row of a request set", "the set is refused"),
    "set_bytes": Limit(32 * 1024 * MIB, "bytes", "a request set, unpacked, in a file in TMPDIR", "the set is refused",
                       "--requests"),
    "set_tokens": Limit(1_000_000_000, "tokens", "the random texts of a set, or of a trace", "the set is refused",
                        "--requests"),
    "parquet_bytes": Limit(2**34, "bytes", "a Parquet file of a run, unpacked; also its rows", "the run is refused"),
    "key_chars": Limit(4096, "characters", "a file with an API key", "the key is refused"),
}  # fmt: skip


def most(name: str) -> int:
    """The value of a limit."""
    return TABLE[name].most


@dataclass(frozen=True, slots=True)
class ResponseLimits:
    """Those of responses under load that [response] of a sweep.toml moves."""

    response_bytes: int = most("response_bytes")
    held_bytes: int = most("held_bytes")
    header_bytes: int = most("header_bytes")
    event_bytes: int = most("event_bytes")
    event_values: int = most("event_values")


RESPONSE_LIMITS = ResponseLimits()
