"""What a parser of foreign bytes costs: CPU time linear in the input from 10 kB to 10 MB, memory a multiple of it.

    python -m tests.fuzz.costs [--only WORD] [--most BYTES]

Each grammar has its hostile shapes: a beginning, a unit that is repeated, an end. A shape is a finding where ten times
the bytes take more than 30 times as long, where its memory is more than its target's multiple, or where a parser of a
server's answers keeps the event loop for longer than 0.1 s of CPU.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import re
import resource
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchsuite.client.http import Exchange, WireError
from benchsuite.client.request import record_steps
from benchsuite.errors import BenchsuiteError
from tests.fuzz.targets import (
    CONTEXT,
    ENCODED,
    TARGETS,
    Target,
    escape_of,
    journal_of,
    journal_record,
    parquet_of,
    samples_of,
)

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
FACTOR = 3.0  # over what linear growth would take
HOLD_S = 0.1
_SHORT_S = 0.1  # what takes less is measured again
_FLOOR_S = 0.001  # less than this is all start and noise
_PATIENCE_S = 60.0
_MEMORY_BYTES = 4 * 2**30


class Shape(NamedTuple):
    """%d in the unit is its number."""

    begin: bytes
    unit: bytes
    end: bytes = b""

    def of(self, n_bytes: int) -> bytes:
        left = max(n_bytes - len(self.begin) - len(self.end), 1)
        if b"%d" in self.unit:
            count = left // (len(self.unit) + 3) + 1
            return self.begin + b"".join(self.unit % i for i in range(count)) + self.end
        return self.begin + self.unit * (left // len(self.unit) + 1) + self.end


class Made(NamedTuple):
    """A shape that is no repetition."""

    of: Callable[[int], bytes]


_OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_LOOSE = b"HTTP/1.1 200 OK\n"
_EVENT = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'
_CHUNK = b"%x\r\n%s\r\n" % (len(_EVENT), _EVENT)
_DONE = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'

_JSON = {
    "opens": Shape(b"", b"["),
    "nested": Shape(b"", b'{"a":'),
    "lists": Shape(b'{"data":[', b"[],", b"[]]}"),
    "objects": Shape(b'{"data":[', b"{},", b"{}]}"),
    "keys": Shape(b'{"a":0', b',"k%d":0', b"}"),
    "same key": Shape(b'{"a":0', b',"a":0', b"}"),
    "numbers": Shape(b"[", b"1.5,", b"0]"),
    "one number": Shape(b"[", b"9", b"]"),
    "escapes": Shape(b'{"id":"', b"\\u4e2d", b'"}'),
    "backslashes": Shape(b'{"id":"', b"\\", b'"}'),
    "one text": Shape(b'{"id":"', b"a", b'"}'),
    "open text": Shape(b'{"id":"', b"a"),
    "blanks": Shape(b"{", b" ", b"}"),
    "errors": Shape(b"", b'{"error":', b""),
    "choices": Shape(b'{"choices":[', b"{},", b"{}]}"),
    "tool calls": Shape(b'{"choices":[{"delta":{"tool_calls":[', b"[{}],", b"{}]}}]}"),
    "parts": Shape(b'{"choices":[{"delta":{"content":[', b'{"type":"text","text":""},', b"{}]}}]}"),
    "models": Shape(b'{"data":[', b'{"id":"m%d","owned_by":"x"},', b'{"id":"m"}]}'),
    "words": Shape(b'{"message":"', b"a ", b'"}'),
    "tags": Shape(b"", b"<style"),
}
_STREAM = {
    "tokens": Shape(b"", _EVENT, _DONE),
    "newlines": Shape(b"", b"\n"),
    "returns": Shape(b"", b"\r"),
    "lines with returns": Shape(b"", b"a\r"),
    "odd lines": Shape(b"", b"a\n"),
    "odd events": Shape(b"", b"a\n\n"),
    "empty events": Shape(b"", b"data: {}\n\n"),
    "bare data": Shape(b"", b"data\n\n"),
    "data lines": Shape(b"", b"data: a\n"),
    "objects unseparated": Shape(b"", b'data: {"a":1}\n'),
    "events with returns": Shape(b"", b"data: {}\r\n\r\n"),
    "comments": Shape(b"", b":\n"),
    "comment events": Shape(b"", b": ping\n\n"),
    "names": Shape(b"", b"event: error\n"),
    "errors": Shape(b"", b"error: x\n"),
    "one line": Shape(b"data: ", b"a"),
    "one event": Shape(b'data: {"id":"', b"a", b'"}\n\n'),
    "done": Shape(b"", b"data: [DONE]\n\n"),
    "not json": Shape(b"", b"data: {\n\n"),
    "marks": Shape(b"", b'{"done":true'),
    "reasons": Shape(b"", b'"finish_reason":"', b'"finish_reason":null'),
    "JSON lines": Shape(b"", b"1\n"),
    "native": Shape(b"", b'{"message":{"content":"a"},"done":false}\n', b'{"done":true}\n'),
    **{
        f"JSON {name}": Shape(b"data: " + shape.begin, shape.unit, shape.end + b"\n\n") for name, shape in _JSON.items()
    },
}
_HTTP = {
    "chunks": Shape(_CHUNKED, _CHUNK, b"0\r\n\r\n"),
    "small chunks": Shape(_CHUNKED, b"1\r\na\r\n", b"0\r\n\r\n"),
    "chunk size": Shape(_CHUNKED, b"0"),
    "extension": Shape(_CHUNKED + b"5;", b"a"),
    "extensions": Shape(_CHUNKED, b"1;a=b\r\na\r\n", b"0\r\n\r\n"),
    "trailer": Shape(_CHUNKED + _CHUNK + b"0\r\nX-T: ", b"a"),
    "trailers": Shape(_CHUNKED + _CHUNK + b"0\r\n", b"X-T: a\r\n", b"\r\n"),
    "trailer behind an extension": Shape(_CHUNKED + _CHUNK + b"0;a\r\nX-T: ", b"a", b"\r\n\r\n"),
    "header": Shape(_OK + b"X-T: ", b"a"),
    "headers": Shape(_OK, b"X-T: a\r\n", b"\r\n"),
    "kept headers": Shape(_OK, b"x-queue-time: %d\r\n", b"\r\n"),
    "interim": Shape(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "loose headers": Shape(_LOOSE, b"X-T: a\n", b"\n"),
    "folded": Shape(_LOOSE + b"X-T: a\n", b" a\n", b"\n"),
    "loose chunks": Shape(_LOOSE + b"Transfer-Encoding: chunked\n\n", b"1\na\n", b"0\n\n"),
    "loose trailers": Shape(_LOOSE + b"Transfer-Encoding: chunked\n\n1\na\n0\n", b"X: a\n", b"\n"),
    "blank lines": Shape(b"", b"\r\n"),
    "no HTTP": Shape(b"", b"a"),
    **{f"body: {name}": Shape(_OK + b"\r\n" + shape.begin, shape.unit, shape.end) for name, shape in _STREAM.items()},
}
_PAGE = {
    "samples": Shape(b"", b"vllm:num_requests_running %d\n"),
    "labels": Shape(b"vllm:num_requests_running{", b'l%d="a",', b"} 1\n"),
    "escapes": Shape(b'vllm:num_requests_running{a="', b'\\"', b'"} 1\n'),
    "open label": Shape(b'vllm:num_requests_running{a="', b"\\\\"),
    "braces": Shape(b"vllm:num_requests_running", b"{", b" 1\n"),
    "blanks": Shape(b"vllm:num_requests_running", b" ", b"1\n"),
    "commas": Shape(b"vllm:num_requests_running{", b",", b"} 1\n"),
    "one name": Shape(b"", b"a", b" 1\n"),
    "names": Shape(b"", b"a%d 1\n"),
    "newlines": Shape(b"", b"\n"),
    "digits": Shape(b"vllm:num_requests_running ", b"9", b"\n"),
    "labelled": Shape(b"", b'vllm:num_requests_running{engine="%d",model="m"} 1\n'),
}
_DCGM = {
    "fields": Shape(b"", b'DCGM_FI_DEV_POWER_USAGE{gpu="%d",UUID="GPU-1"} 1\n'),
    "uuids": Shape(b"", b'DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-%d"} 1\n'),
    "instances": Shape(b"", b'DCGM_FI_DEV_FB_USED{UUID="GPU-1",GPU_I_ID="%d"} 1\n'),
    **{name: Shape(s.begin.replace(b"vllm:num_requests_running", b"DCGM_FI_DEV_POWER_USAGE"), s.unit, s.end)
       for name, s in _PAGE.items() if s.begin},
}  # fmt: skip
_CSV = {
    "rows": Shape(b"id,prompt\n", b"a,b\n"),
    "columns": Shape(b"prompt", b",c%d", b"\n1\n"),
    "same columns": Shape(b"prompt", b",c", b"\n1\n"),
    "cells": Shape(b"prompt\n", b"a,", b"\n"),
    "quotes": Shape(b"prompt\n", b'""'),
    "open quote": Shape(b'id,prompt\n1,"', b"a\n"),
    "semicolons": Shape(b"", b";"),
}
_TOML = {
    "tables": Shape(b"", b"[t%d]\n"),
    "array tables": Shape(b"", b"[[t]]\n"),
    "keys": Shape(b"", b"k%d = 1\n"),
    "dots": Shape(b"a", b".a", b" = 1\n"),
    "arrays": Shape(b"a = [", b"1,", b"]\n"),
    "inline": Shape(b"a = ", b"{a="),
    "opens": Shape(b"a = ", b"["),
    "text": Shape(b'a = "', b"\\u0061", b'"\n'),
    "open text": Shape(b'a = """', b"a\n"),
    "comments": Shape(b"", b"#\n"),
    "number": Shape(b"a = ", b"9", b"\n"),
    "blanks": Shape(b"a", b" ", b"= 1\n"),
    "newlines": Shape(b"", b"\n"),
}
_LINES = {
    "rows": Shape(b"", b'{"prompt":"a"}\n'),
    "ids": Shape(b"", b'{"id":"%d","prompt":"a"}\n'),
    "no rows": Shape(b"", b"{}\n"),
    "array": Shape(b"[", b'{"prompt":"a"},', b'{"prompt":"a"}]'),
    "array over lines": Shape(b"[\n", b'{"prompt":\n"a"},\n', b'{"prompt":"a"}]'),
    "objects over lines": Shape(b"", b'{\n"prompt":"a"\n}\n'),
    "open object": Shape(b"{\n", b'"a%d":1,\n'),
    "open array": Shape(b"[\n", b"[\n"),
    "values": Shape(b"[\n", b"1,\n", b"1]"),
    "one text": Shape(b'{"prompt":"', b"a", b'"}\n'),
    "one text over lines": Shape(b'{\n"prompt":"', b"a", b'"}\n'),
    "turns": Shape(b'{"messages":[', b'{"role":"user","content":"a"},', b'{"role":"user","content":"a"}]}\n'),
    "conversations": Shape(b'{"conversations":[', b'{"from":"human","value":"a"},{"from":"gpt","value":"b"},',
                           b'{"from":"human","value":"a"}]}\n'),
    "words": Shape(b"", b"a "),
    "text lines": Shape(b"", b"some words\n"),
    "newlines": Shape(b"", b"\n"),
    "keys of YAML": Shape(b"", b"k%d: a\n"),
    "items of YAML": Shape(b"", b"- a\n"),
    "markup": Shape(b"a", b" ", b"= 1\nb\n"),
    "brackets": Shape(b"", b"["),
    "zeros": Shape(b"", b"a\0"),
    "trace": Shape(b"", b'{"timestamp":%d,"input_length":9,"output_length":1,"hash_ids":[1]}\n'),
    "hash ids": Shape(b'{"timestamp":0,"input_length":9,"output_length":1,"hash_ids":[', b"%d,", b"0]}\n"),
    "trace of dates": Shape(b"TIMESTAMP,ContextTokens,GeneratedTokens\n", b"2023-11-16 18:17:03.9799601,8,1\n"),
    **{f"CSV {name}": shape for name, shape in _CSV.items()},
    **{f"JSON {name}": shape for name, shape in _JSON.items()},
}  # fmt: skip
_SLO = {
    "limits": Shape(b"", b"ttft_p95<1s,"),
    "blanks": Shape(b"ttft_p95", b" ", b"<1s"),
    "spaces": Shape(b"", b" a"),
    "letters": Shape(b"", b"a"),
    "digits": Shape(b"ttft_p95<", b"9", b"s"),
    "commas": Shape(b"", b","),
    "goodput": Shape(b"", b" goodput:"),
    "brackets": Shape(b"", b"("),
}
_PROFILE = {
    "steps": Shape(b"steps", b" 1"),
    "hours": Shape(b"hours", b" %d:1"),
    "words": Shape(b"hours", b" a"),
    "colons": Shape(b"hours ", b":"),
    "one number": Shape(b"steps ", b"9"),
    "one word": Shape(b"", b"a"),
    "blanks": Shape(b"steps 1", b" "),
}
_RATES = {
    "rates": Shape(b"seconds,rate\n", b"%d,1\n"),
    "blank rows": Shape(b"seconds,rate\n", b",\n", b"0,1\n"),
    "same time": Shape(b"seconds,rate\n", b"0,1\n"),
    **{name: Shape(b"seconds,rate\n" + s.begin, s.unit, s.end) for name, s in _CSV.items()},
}
_POINTS = {name: Shape(b"model,concurrency,requests,time_s\n" + s.begin, s.unit, s.end) for name, s in _CSV.items()} | {
    "points": Shape(b"model,concurrency,requests,time_s,ttft_s,input_tokens,output_tokens\n", b"a,%d,100,60,1,1,1\n"),
    **_CSV,
}
_IMPORTED = {
    **_JSON,
    "vllm": Shape(b'{"backend":"openai","max_concurrency":8,"duration":1,"completed":1,"ttfts":[', b"0.1,", b"0.1]}"),
    "itls": Shape(b'{"backend":"openai","max_concurrency":8,"duration":1,"completed":1,"itls":[', b"[0.1],", b"[]]}"),
    "benchmarks": Shape(b'{"type_":"generative_benchmarks_report","benchmarks":[', b"{},", b"{}]}"),
    "requests": Shape(
        b'{"metadata":{"version":2},"benchmarks":[{"config":{"strategy":{"type_":"x"}},"requests":{"successful":[',
        b'{"info":1},',
        b"{}]}}]}",
    ),
    "numbers as text": Shape(
        b'{"backend":"openai","max_concurrency":8,"duration":1,"completed":1,"itls":[["', b'","', b'"]]}'
    ),
    "records": Shape(b"", b'{"metadata":{"session_num":0},"metrics":{}}\n'),
}


def _footer(content: bytes) -> bytes:
    return b"PAR1" + content + len(content).to_bytes(4, "little") + b"PAR1"


_JOURNAL = {
    "rows": Made(journal_of),
    "one batch": Made(lambda n: journal_of(n, batch=10**9)),
    "small batches": Made(lambda n: journal_of(n, batch=1)),
    "torn": Made(lambda n: journal_of(n)[:-7]),
    "heads": Shape(b"", b"BSJ1"),
    "zeros": Shape(b"", b"\0"),
    "no batch": Made(lambda n: journal_record(b"a" * n)),
    "empty records": Shape(b"", journal_record(b"")),
    "records of one byte": Shape(b"", journal_record(b"a")),
}
_PARQUET = {
    "rows": Made(parquet_of),
    "row groups": Made(lambda n: parquet_of(n, group=50)),
    "zeros": Shape(b"PAR1", b"\0", b"PAR1"),
    "long footer": Made(lambda n: b"PAR1" + b"\x15" * n + n.to_bytes(4, "little") + b"PAR1"),
    "lists in a footer": Made(
        lambda n: b"PAR1" + b"\x15\x02\x19\xfc" + b"\x1c" * n + n.to_bytes(4, "little") + b"PAR1"
    ),
    "checksums": Shape(b"PAR1", b"\x89BSsum\r\n", b"PAR1"),
    "no Parquet": Shape(b"", b"a"),
}
_FOLDER = {
    **{f"manifest: {name}": Shape(b"\0" + shape.begin, shape.unit, shape.end) for name, shape in _JSON.items()},
    **{f"rows: {name}": Made(lambda n, shape=shape: b"\1" + shape.of(n)) for name, shape in _PARQUET.items()},
    **{f"{table}: rows": Made(lambda n, i=i, table=table: bytes((i,)) + samples_of(table, n))
       for i, table in ((2, "gpu"), (3, "server"))},
    "gpu: no Parquet": Shape(b"\2", b"a"),
}  # fmt: skip
_SHOWN = {
    "letters": Shape(b"", b"a"),
    "words": Shape(b"", b"a "),
    "newlines": Shape(b"", b"\n"),
    "backslashes": Shape(b"", b"\\"),
    "escapes": Shape(b"", b"\\u0061"),
    "percents": Shape(b"", b"%%25"),
    "entities": Shape(b"", b"&amp;"),
    "open entities": Shape(b"", b"&#"),
    "colours": Shape(b"", b"\x1b[31m"),
    "open colours": Shape(b"", b"\x1b["),
    "zeros": Shape(b"", b"\0"),
    "key": Shape(b"", b"sk-planted-0123456789 "),
    "half a key": Shape(b"", b"sk-planted-012345678"),
    "bytes": Shape(b"", b"\xff"),
    "quotes": Shape(b"", b'"'),
    "tags": Shape(b"", b"<"),
    "pipes": Shape(b"", b"|"),
    "ticks": Shape(b"", b"`"),
    "stars": Shape(b"", b"*_["),
    "addresses": Shape(b"", b"http://a"),
    "commands": Shape(b"", b"::error::"),
    "brackets": Shape(b"", b"##["),
}
SHAPES: dict[str, dict[str, Shape | Made]] = {
    "HTTP exchange": _HTTP,
    "SSE stream": _STREAM,
    "NDJSON stream": _STREAM,
    "JSON body": _JSON,
    "control answers": _JSON,
    "server metrics": _PAGE,
    "DCGM page": _DCGM,
    "request file": _LINES,
    **dict.fromkeys(("vllm bench", "guidellm", "aiperf"), _IMPORTED),
    "sweep TOML": _TOML,
    "matrix TOML": _TOML,
    "prices": _TOML | _JSON,
    "plan": _TOML,
    "points CSV": _POINTS,
    "scores CSV": _POINTS,
    "rate profile": _PROFILE,
    "rate table": _RATES,
    "manifest": _JSON
    | {
        "points": Shape(b'{"schema":1,"points":[', b"{},", b"{}]}"),
        "planned": Shape(b'{"schema":1,"planned_points":[', b"0,", b"0]}"),
        "problems": Shape(b'{"schema":1,"telemetry":{"problems":[', b"0,", b"0]}}"),
    },
    "SLO": _SLO,
    "journal, forged": _JOURNAL,
    "Parquet, forged": _PARQUET,
    "run folder": _FOLDER,
    "shown text": _SHOWN,
}
# the most memory, in multiples of the input, over what a small input takes; a JSON object of 3 bytes takes 72
MULTIPLE = {
    "HTTP exchange": 8,
    "SSE stream": 8,
    "NDJSON stream": 8,
    "JSON body": 12,
    "server metrics": 12,
    "DCGM page": 12,
    "shown text": 400,  # every surface at once, and escapes
    "control answers": 120,  # several trees of it
    "guidellm": 160,  # a request is a model of 20 values; real ones are a kilobyte of text, these are 11 bytes
    **dict.fromkeys(("sweep TOML", "matrix TOML", "prices", "plan"), 160),  # what tomllib notes of each key
}
_MULTIPLE, _BASE_BYTES = 60, 32 * 2**20


def holds_s(data: bytes, read_bytes: int) -> float:
    """The longest time, of CPU, for which a response in reads of one size keeps the event loop."""
    exchange, longest_s = Exchange(0, 0), 0.0

    def timed(call: Callable[[], Any]) -> Any:
        nonlocal longest_s
        began_s = time.thread_time()
        try:
            return call()
        finally:
            longest_s = max(longest_s, time.thread_time() - began_s)

    def read(piece: bytes) -> bool:
        exchange.data += piece
        exchange.ends.append(len(exchange.data))
        exchange.stamps.append(len(exchange.data))
        exchange.user_stamps.append(len(exchange.data))
        done = exchange.find_end()
        if len(exchange.data) > exchange.due_bytes:
            exchange.grown()
        return done == 1

    exchange.sent_ns = 1
    try:
        for i in range(0, len(data), read_bytes):
            if timed(lambda i=i: read(data[i : i + read_bytes])):
                break
        else:
            exchange.error = WireError("truncated", "the end")
    except WireError as error:
        exchange.error = error
    timed(exchange.has_finished)
    rows: list[Any] = []
    steps: Iterator[None] = record_steps(exchange, ENCODED, CONTEXT, rows)
    while timed(lambda: next(steps, 1)) is None:
        pass
    assert len(rows) == 1
    return longest_s


class Cost(NamedTuple):
    """What a shape did. factor: the worst, over linear growth. multiple: memory at the most bytes, in inputs.

    refused: the largest input ended in a clear error, of a limit or of the grammar. reached: its bytes, fewer
    than asked where those would have taken too long. broken: findings, in words.
    """

    factor: float = 0.0
    multiple: float = 0.0
    held_s: float = 0.0
    refused: bool = False
    reached: int = 0
    broken: tuple[str, ...] = ()


def _cost_s(target: Target, data: bytes, tries: int) -> float:
    """CPU seconds: the median of tries, of fewer where they take long."""
    took_s: list[float] = []
    while len(took_s) < tries and sum(took_s) < 2:
        began_s = time.process_time()
        escape_of(target, data)
        took_s.append(time.process_time() - began_s)
    return statistics.median(took_s)


def _bytes_of(what: str) -> int:
    return int(re.findall(rf"{what}:\s+(\d+)", Path("/proc/self/status").read_text())[0]) * 1024


def cost(name: str, shape_name: str, most_bytes: int = SIZES[-1], most_s: float = _PATIENCE_S) -> Cost:
    """Measure a shape in every size that should take less than most_s, in a process of its own for its memory."""
    target, shape = TARGETS[name], SHAPES[name][shape_name]
    factor, multiple, held_s, refused, broken = 0.0, 0.0, 0.0, False, []
    before = b"", 0.0
    for data in (target.seeds()[0], shape.of(100)):  # what is imported late, is not the input's
        escape_of(target, data)
    gc.disable()  # its passes come at numbers of objects, not of bytes
    for size in [size for size in SIZES if size <= most_bytes]:
        if before[1] > _FLOOR_S and before[1] * size / len(before[0]) > most_s:
            break
        data = shape.of(size)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
        base, began_s = _bytes_of("VmRSS"), time.process_time()
        try:
            target.run(data)
            error, refused = None, False
        except BaseException as caught:
            error, refused = caught, isinstance(caught, BenchsuiteError) and target.raises
        took_s = time.process_time() - began_s
        peak = max(_bytes_of("VmHWM") - base, 0)
        if error is not None and not refused:
            words = f"{size:,} bytes: {type(error).__name__}: {str(error)[:100]}"
            return Cost(factor, multiple, held_s, False, size, (*broken, words))
        if took_s < _SHORT_S:
            took_s = _cost_s(target, data, 3)
        if before[1] > _FLOOR_S:
            grown = len(data) / len(before[0])
            if took_s > FACTOR * grown * before[1]:
                before, took_s = (before[0], _cost_s(target, before[0], 7)), _cost_s(target, data, 5)
            factor = max(factor, took_s / before[1] / grown)
            if took_s > FACTOR * grown * before[1]:
                broken.append(f"{before[1]:.4f} s for {len(before[0]):,} bytes, {took_s:.4f} s for {len(data):,}")
        before, multiple = (data, took_s), peak / len(data)
        if peak > _BASE_BYTES + len(data) * MULTIPLE.get(name, _MULTIPLE):
            broken.append(f"{peak:,} bytes of memory for {len(data):,}")
    for size, read_bytes in (
        ((200_000, 1), (2_000_000, 1000), (len(before[0]), 65536)) if name == "HTTP exchange" else ()
    ):
        data = shape.of(size)
        longest_s = holds_s(data, read_bytes)
        if longest_s > HOLD_S:
            longest_s = statistics.median([longest_s, *(holds_s(data, read_bytes) for _ in range(4))])
        held_s = max(held_s, longest_s)
        if longest_s > HOLD_S:
            broken.append(f"holds the loop for {longest_s:.3f} s: {len(data):,} bytes in reads of {read_bytes}")
    return Cost(factor, multiple, held_s, refused, len(before[0]), tuple(broken))


def _alarm(*_: object) -> None:
    raise TimeoutError(f"more than {_PATIENCE_S:g} s of CPU")


def _work(job: tuple[str, str, int, float], answer: Any) -> None:
    signal.signal(signal.SIGVTALRM, _alarm)
    signal.setitimer(signal.ITIMER_VIRTUAL, _PATIENCE_S)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    try:
        answer.send(cost(*job))
    except BaseException as error:
        answer.send(Cost(broken=(f"{type(error).__name__}: {str(error)[:100]}",)))


def _alone(job: tuple[str, str, int, float]) -> Cost:
    """A shape's cost in a process that begins with it."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_work, args=(job, theirs))
    child.start()
    theirs.close()
    try:
        found: Cost = ours.recv()
    except EOFError:
        found = Cost(broken=("its process ended",))
    child.join()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="parsers whose name holds this word")
    parser.add_argument("--each", action="store_true", help="a line for each shape too")
    parser.add_argument("--most", type=int, default=SIZES[-1], help="bytes of the largest input")
    parser.add_argument(
        "--most-s", type=float, default=_PATIENCE_S, help="CPU seconds that an input may need, by the last"
    )
    asked = parser.parse_args()
    heads = f"{'parser':18} {'shapes':>6} {'whole':>6} {'refused':>7} {'factor':>6} {'memory':>6} {'held s':>6}"
    print(f"{heads} worst shape", flush=True)
    total = shapes = 0
    for name in [name for name in SHAPES if asked.only in name]:
        costs = {}
        for shape in SHAPES[name]:
            costs[shape] = found = _alone((name, shape, asked.most, asked.most_s))
            if asked.each or found.broken:
                print(f"    {shape}: {found}", flush=True)
        worst = max(costs, key=lambda shape: costs[shape].factor)
        multiple, held_s = max(c.multiple for c in costs.values()), max(c.held_s for c in costs.values())
        refused = sum(c.refused for c in costs.values())
        whole = sum(c.reached >= 0.7 * asked.most for c in costs.values())
        print(f"{name:18} {len(costs):6} {whole:6} {refused:7} {costs[worst].factor:6.2f} {multiple:6.1f} "
              f"{f'{held_s:.3f}' if held_s else '':>6} {worst}", flush=True)  # fmt: skip
        shapes, total = shapes + len(costs), total + sum(len(found.broken) for found in costs.values())
    print(f"{shapes} shapes, {total} findings", flush=True)
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
