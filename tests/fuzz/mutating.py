"""Seeded mutations of real inputs: bytes, lines and JSON values changed, as a torn file or a hostile server would."""

from __future__ import annotations

import json
import random
import re
import tomllib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

_MAX_BYTES = 40_000
_LOOKS_LIKE_TOML = re.compile(rb"^\[\[?[a-z]+[].]", re.MULTILINE)

TOKENS: tuple[bytes, ...] = (
    b"", b"\x00", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\r\n\r\n", b"\n\n", b"\n", b"\r", b"\t", b"data: ",
    b"data:", b"data: [DONE]\n\n", b": ping\n\n", b"event: error\n", b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"-1\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999\r\n", b"content-encoding: gzip\r\n", b"{", b"}",
    b"[", b"]", b'"', b"'", b",", b":", b"null", b"true", b"NaN", b"Infinity", b"-Infinity", b"-0", b"1e999", b"-1",
    b"0", b"1e308", b"9" * 400, b"9" * 5000, b"4294967296", b"9223372036854775808", b"0x10", b"1_0", b'"\\ud800"',
    b'{"error": 5}', b'{"choices": 3}', b'"a":', b"[[", b"]]", b" = ", b"=", b"#", b"<", b"<=", b"%", b"ms", b"s",
    b"p99.9", b"goodput", b"[" * 3000, b'{"a":' * 3000,
    b"[" * 700 + b"]" * 700, b'{"a":' * 700 + b"1" + b"}" * 700, b"{a=\"", b"} 1\n", b"+Inf", b"nan",
    b"1979-05-27T07:32:00Z", b"inf", b"\"\"\"", b"\x1b[2J", "\u2028\u0660\u00b2".encode(),
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 1.5, -0.5, 2**31, 2**63, 10**400, 1e308, float("nan"), float("inf"), "", "x", "1",
    "\ud800", "=1", "../../x", [], [None], [[]], {}, {"a": {}}, "9" * 50, "\u0660", [1, 2], ["x"], {"value": None},
)  # fmt: skip


def mutated(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One input: a seed with one to four changes."""
    data = rng.choice(seeds)
    roll = rng.random()
    if roll < 0.25:
        data = _toml_changed(rng, data) if _LOOKS_LIKE_TOML.search(data) else _json_changed(rng, data)
    elif roll < 0.35:
        data = _lines_changed(rng, data)
    for _ in range(rng.randrange(0 if roll < 0.35 else 1, 4)):
        data = _bytes_changed(rng, data, seeds)
    return data[:_MAX_BYTES]


def _bytes_changed(rng: random.Random, data: bytes, seeds: Sequence[bytes]) -> bytes:
    n = len(data)
    at = rng.randrange(n + 1)
    to = min(n, at + rng.choice((1, 1, 2, 4, 8, 30, 200)))
    match rng.randrange(7):
        case 0:
            return data[:at] + bytes((rng.randrange(256),)) + data[at + 1 :]
        case 1:
            return data[:at] + data[to:]
        case 2:
            return data[:to] + data[at:to] * rng.choice((1, 2, 40)) + data[to:]
        case 3:
            return data[:at] + rng.choice(TOKENS) + data[at:]
        case 4:
            return data[:at] + rng.choice(TOKENS) + data[to:]
        case 5:
            other = rng.choice(seeds)
            start = rng.randrange(len(other) + 1)
            return data[:at] + other[start : start + rng.choice((5, 50, 500))] + data[to:]
        case _:
            return data[:at]


def _lines_changed(rng: random.Random, data: bytes) -> bytes:
    """A line doubled, dropped, swapped with another, or with its number made a hostile one."""
    lines = data.split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(4):
        case 0:
            lines.insert(i, lines[j])
        case 1:
            del lines[i]
        case 2:
            lines[i], lines[j] = lines[j], lines[i]
        case _:
            head, mark, _ = lines[i].rpartition(rng.choice((b" ", b"=", b",", b":")))
            lines[i] = head + mark + rng.choice(TOKENS)
    return b"\n".join(lines)


def _json_changed(rng: random.Random, data: bytes) -> bytes:
    """One JSON value in it replaced, dropped or renamed: of the whole, or of one line (SSE's included)."""
    lines = [data] if rng.random() < 0.5 else data.split(b"\n")
    i = rng.randrange(len(lines))
    prefix = b"data: " if lines[i].startswith(b"data: ") else b""
    try:
        tree = _read(json.loads, lines[i][len(prefix) :])
    except (ValueError, RecursionError):
        return data
    lines[i] = prefix + json.dumps(with_one_changed(rng, tree)).encode()
    return b"\n".join(lines)


def _toml_read(data: bytes) -> dict[str, Any]:
    return tomllib.loads(data.decode())


@lru_cache(256)
def _read(parse: Callable[[bytes], Any], seed: bytes) -> Any:
    return parse(seed)


def _toml_changed(rng: random.Random, data: bytes) -> bytes:
    """One TOML value in it replaced, dropped or renamed."""
    try:
        tree = with_one_changed(rng, _read(_toml_read, data))
    except ValueError:
        return data
    if not isinstance(tree, dict):
        return data
    return "\n".join(f"{json.dumps(str(key))} = {_toml(value)}" for key, value in tree.items()).encode(
        "utf-8", "replace"
    )


def _toml(value: Any) -> str:
    match value:
        case dict():
            return "{" + ", ".join(f"{json.dumps(str(key))} = {_toml(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_toml, value)) + "]"
        case str():
            return json.dumps(value)
        case bool():
            return str(value).lower()
        case None:
            return "{}"
    return str(value)


def with_one_changed(rng: random.Random, tree: Any) -> Any:
    """`tree`, plain data, with one value anywhere replaced, dropped or put under another key; it shares the others."""
    node = tree = tree.copy() if isinstance(tree, dict | list) else tree
    parent: Any = None
    while isinstance(node, dict | list) and node and (parent is None or rng.random() < 0.8):
        key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
        parent, node = node, node[key]
        if isinstance(node, dict | list):
            node = parent[key] = node.copy()
    if parent is None:
        return rng.choice(VALUES)
    match rng.randrange(4):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, dict):
            parent[rng.choice(("", "x", *parent))] = parent.pop(key)
        case _:
            parent[key] = rng.choice(VALUES)
    return tree
