"""Every parser of foreign bytes, as a function that takes any bytes: it ends, or raises a BenchsuiteError.

The parsers of a server's answers raise nothing at all: a request that cannot be read is a row.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import gzip
import json
import random
import shutil
import struct
import tempfile
import zlib
from array import array
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchsuite.analysis.summary import parse_points
from benchsuite.client.http import Exchange, WireError
from benchsuite.client.request import EncodedRequest, PointContext, record_steps
from benchsuite.client.stream import StreamFacts, error_message, read_whole, stream_steps
from benchsuite.economics.pareto import parse_scores
from benchsuite.economics.plan_file import parse_plan_file
from benchsuite.economics.prices import parse_prices
from benchsuite.errors import BenchsuiteError, read_json, read_toml
from benchsuite.importers import aiperf, guidellm, vllm_bench
from benchsuite.importers.imported_run import imported_run, with_levels
from benchsuite.level import Level
from benchsuite.load.arrivals import arrivals, table_profile
from benchsuite.load.preflight import refusal_text
from benchsuite.load.server_probe import listed_models, recognise, server_facts, server_limits
from benchsuite.manifest import RunManifest
from benchsuite.matrix_spec import parse_matrix
from benchsuite.records import RequestRecord, ScoreRecord
from benchsuite.redact import (
    csv_table,
    html_text,
    json_text,
    markdown_code,
    markdown_text,
    masked,
    printable,
    remember_key,
    shortened,
    single_line,
    workflow_data,
)  # fmt: skip
from benchsuite.servers import SERVERS
from benchsuite.slo import parse_slo
from benchsuite.spec import parse_spec
from benchsuite.store.files import SCHEMA, SCORE_SCHEMA, at_schema, parquet_tables, write_parquet
from benchsuite.store.journal import Journal, _batch, read_journal
from benchsuite.store.run_folder import read_run, write_scores
from benchsuite.telemetry.dcgm import read_dcgm_page
from benchsuite.telemetry.server_metrics import read_server_page
from benchsuite.workload.formats import parse_workload
from tests.fuzz.mutating import mutated

DATA = Path(__file__).parents[1] / "data"
RUN = Path(__file__).parents[1] / "fixtures" / "runs" / "v1"
CONTEXT = PointContext("run", "c0001-r0", 1, 0, 0, 0, streaming=True, keep_text=True)
ENCODED = EncodedRequest(b"", "p", None, 8)


@dataclasses.dataclass(frozen=True)
class Target:
    """run: takes the bytes. seeds: what they are made of. raises: False where not even a BenchsuiteError may come.

    share: of the inputs that are asked for, where one takes milliseconds. mutate: how inputs are made of the seeds.
    """

    run: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    mutate: Callable[[random.Random, Sequence[bytes]], bytes] = dataclasses.field(default=mutated, kw_only=True)
    raises: bool = True
    share: float = 1.0


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def exchange(data: bytes) -> None:
    """A whole response in reads of any sizes, to a row that the journal takes."""
    cuts = random.Random(len(data))
    found = Exchange(0, 0)
    at = found.sent_ns = 1
    while at <= len(data):
        piece = data[at - 1 : at - 1 + cuts.choice((1, 7, 100, 4000))]
        at += len(piece)
        found.data += piece
        found.ends.append(len(found.data))
        found.stamps.append(at)
        found.user_stamps.append(at)
        try:
            if found.find_end():
                break
        except WireError as error:
            found.error = error
            break
    else:
        if not found.by_close:
            found.error = WireError("truncated", "the end")
    found.closed_ns = at
    rows: list[Any] = []
    for _ in record_steps(found, ENCODED, CONTEXT, rows):
        pass
    _fits(rows[0])


_FITTING: set[tuple[object, ...]] = set()  # kinds of rows that the journal took: half the time goes there


def _fits(row: RequestRecord) -> None:
    kind = tuple(
        (value < 0, value.bit_length() // 8)
        if value.__class__ is int
        else value.isascii()
        if isinstance(value, str)
        else value.__class__
        for value in row
    )
    if kind not in _FITTING:
        _batch([row])
        _FITTING.add(kind)


def stream(data: bytes, ndjson: bool = False) -> None:
    ends = [len(data) // 3, len(data) // 2, len(data)]
    facts = StreamFacts()
    for _ in stream_steps(facts, data, ends, [1, 2, 3], keep_text=True, ndjson=ndjson):
        pass
    pa.array([facts.server_error, facts.malformed, facts.response_id, facts.finish_reason], pa.string())


def json_body(data: bytes) -> None:
    facts = read_whole(data, keep_text=True)
    pa.array([facts.server_error, facts.malformed, facts.response_id], pa.string())
    error_message(data).encode()
    refusal_text(data)


class _Answering:
    """A control client for which every route answers the same bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def get(self, path: str) -> Any:
        data = self._data
        return SimpleNamespace(status_code=200, text=_text(data), headers={}, content=data)

    post = get


def control_answers(data: bytes) -> None:
    """What the preflight reads of a server's own routes."""
    client: Any = _Answering(data)
    answer = client.get("/v1/models")
    listed = listed_models(answer)
    found = recognise(client, answer, listed)
    facts = {"model": listed[0] if listed else "m", "headers": {"x-ratelimit-limit-requests": _text(data[:20])}}
    json.dumps(server_facts(client, found), allow_nan=False, ensure_ascii=False).encode()
    for profile in SERVERS.values():
        server_facts(client, profile)
        server_limits(client, profile, facts, {"command": _text(data[:200])})


KEY = "sk-planted-0123456789"


def shown_text(data: bytes) -> None:
    """What others wrote, on every surface: no key in it."""
    remember_key(KEY)
    text = masked(_text(data))
    cell = {"a": text}
    shown = (printable(text), single_line(text), workflow_data(text), html_text(text), markdown_text(text))
    shown += (markdown_code(text), json_text(cell), csv_table([cell]), shortened(_text(data), 300))
    assert not any(KEY in surface for surface in shown), "a key was shown"


def _importer(parse: Callable[..., Any]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        points = parse(data.decode("utf-8", "replace"), where="theirs.json")
        imported_run(with_levels([p for p in points if p.level is None], [Level(8)]) or points, "tool", (), run_id="r")

    return run


def _toml(parse: Callable[..., Any]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        try:
            tree = read_toml(_text(data))
        except ValueError:  # load_spec and load_matrix tell it in their own words
            return
        parse(tree, where="spec.toml")

    return run


def schedule(profile: str) -> None:
    """The arrivals under a profile of rates."""
    due_ns = arrivals(
        "gamma", 20.0, shape=0.5, profile=profile, window_s=10.0, before_s=2.0, after_s=2.0, seed=0, repeat=0
    )
    assert (due_ns[1:] >= due_ns[:-1]).all(), "not ascending"
    assert not len(due_ns) or -2e9 <= due_ns[0] <= due_ns[-1] < 12e9, "outside of the window"


def manifest(data: bytes) -> None:
    try:
        tree = read_json(_text(data))
    except ValueError:  # read_run tells it in its own words
        return
    RunManifest.read(tree, "manifest.json")


_FILES = ("manifest.json", "requests.parquet", "gpu.parquet", "server.parquet", "scores.parquet")


def run_folder(data: bytes) -> None:
    """A run folder of which one file, named by the first byte, is the rest of the bytes; in memory if it can be."""
    _run_files()
    name = _FILES[data[0] % len(_FILES)] if data else _FILES[0]
    folder = _scratch()
    (folder / name).write_bytes(data[1:])
    try:
        read_run(folder)
    finally:
        (folder / name).write_bytes(_run_files()[name])


def _rows_kept(data: bytes) -> pa.Table:
    path = _scratch() / "one.arrows"
    path.write_bytes(data)
    return read_journal(path, SCHEMA, {})


def journal(data: bytes) -> None:
    """A journal that was damaged: its rows up to the damage, each as it was written."""
    kept = _rows_kept(data)
    assert kept.equals(_table().slice(0, len(kept))), "a row that was never written"


def parquet(data: bytes) -> None:
    """A Parquet file of ours that was damaged: refused, or whole."""
    path = _scratch() / "one.parquet"
    path.write_bytes(data)
    with contextlib.suppress(OSError):
        assert at_schema(SCHEMA, parquet_tables(path, SCHEMA)).equals(_table()), "other rows than were written"


def forged_parquet(data: bytes) -> None:
    """A Parquet file without a checksum, as others write it: refused, or read."""
    path = _scratch() / "one.parquet"
    path.write_bytes(data)
    with contextlib.suppress(OSError):
        at_schema(SCHEMA, parquet_tables(path, SCHEMA))


@lru_cache(1)
def _table() -> pa.Table:
    rows = at_schema(SCHEMA, parquet_tables(RUN / "requests.parquet", SCHEMA)).slice(0, 60).to_pylist()
    return pa.Table.from_pylist(rows, SCHEMA)


def journal_record(payload: bytes) -> bytes:
    """A payload as a journal frames it, with checksums that hold."""
    head = struct.pack("<4sII", b"BSJ1", len(payload), zlib.crc32(payload))
    return head + zlib.crc32(head).to_bytes(4, "little") + payload


def _table_of(table: pa.Table, n_bytes: int) -> pa.Table:
    """Rows, again and again, of about so many bytes as a journal."""
    row_bytes = table.nbytes / len(table)
    return pa.concat_tables([table] * (int(n_bytes / row_bytes / len(table)) + 1))[: int(n_bytes / row_bytes) + 1]


def journal_of(n_bytes: int, batch: int = 20) -> bytes:
    """A journal of about so many bytes."""
    found = bytearray()
    rows = _table()
    if batch > len(rows):
        return journal_record(_table_of(rows, n_bytes).combine_chunks().to_batches()[0].serialize().to_pybytes())
    framed = b"".join(journal_record(part.serialize().to_pybytes()) for part in rows.to_batches(max_chunksize=batch))
    while len(found) < n_bytes:
        found += framed
    return bytes(found)


def parquet_of(n_bytes: int, group: int = 65536) -> bytes:
    """A table of requests as others write one, not packed, of about so many bytes."""
    return _parquet_bytes(_table_of(_table(), n_bytes), group)


def samples_of(name: str, n_bytes: int) -> bytes:
    """The same of the samples of a run."""
    return _parquet_bytes(_table_of(pq.ParquetFile(RUN / f"{name}.parquet").read(), n_bytes), 65536)


def _parquet_bytes(table: pa.Table, group: int) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="none", use_dictionary=False, row_group_size=group)
    return sink.getvalue().to_pybytes()


@lru_cache(1)
def _journal() -> bytes:
    path = _scratch() / "seed.arrows"
    path.unlink(missing_ok=True)
    log = Journal(path)
    for i, row in enumerate(_table().to_pylist()):
        log.append(RequestRecord(**row | {"chunk_gap_us": array("i", row["chunk_gap_us"])}))
        if i % 20 == 19:
            log.flush()
    log.close()
    return path.read_bytes()


@lru_cache(1)
def _parquet() -> bytes:
    path = _scratch() / "seed.parquet"
    write_parquet(path, _table())
    return path.read_bytes()


def _pokes(rng: random.Random, data: bytearray, first: int, past: int) -> None:
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(first, past)
        data[at] = rng.choice((data[at] ^ 1 << rng.randrange(8), rng.randrange(256), 0, 255, 127))


def _forged_journal(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One record changed, with checksums that hold."""
    seed, payloads = seeds[0], []
    while seed:
        n_bytes = struct.unpack_from("<I", seed, 4)[0]
        payloads.append(bytearray(seed[16 : 16 + n_bytes]))
        seed = seed[16 + n_bytes :]
    changed = rng.choice(payloads)
    _pokes(rng, changed, 0, len(changed))
    return b"".join(map(journal_record, payloads))


def _forged_parquet(rng: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Changed, mostly in its footer, and without the checksum."""
    seed = seeds[0]
    at = seed.rindex(b"\x89BSsum\r\n")
    data = bytearray((seed[:at] + seed[at + 12 :]).replace(b"benchsuite_checksum", b"x" * 19))
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    _pokes(rng, data, 0 if rng.random() < 0.4 else footer, len(data))
    return bytes(data)


@lru_cache(1)
def _scratch() -> Path:
    memory = Path("/dev/shm")
    made = tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory if memory.is_dir() else None)
    atexit.register(made.cleanup)
    folder = Path(shutil.copytree(RUN, Path(made.name) / "run"))
    scores = [
        ScoreRecord(*(row[k] for k in SCORE_SCHEMA.names[:6]), "choice", 1, 1.0, "C", "bare", cut=False, failed=False)
        for row in _table().to_pylist()
    ]
    write_scores(folder, scores, {"run_id": json.loads((RUN / "manifest.json").read_bytes())["run_id"]})
    return folder


@lru_cache(1)
def _run_files() -> dict[str, bytes]:
    """Those of a run folder that nothing has changed yet."""
    return {name: (_scratch() / name).read_bytes() for name in _FILES}


def _run_seeds() -> list[bytes]:
    manifest = json.loads((RUN / "manifest.json").read_bytes())
    small = {key: value for key, value in manifest.items() if key not in ("host", "calibration")}
    plain = [b"\0" + json.dumps(small).encode()[:15_000]] * 3
    return [*plain, *(bytes((i,)) + _run_files()[name] for i, name in enumerate(_FILES))]


def _captures(*words: str, limit: int = 3000) -> list[bytes]:
    found = [path.read_bytes() for path in sorted((DATA / "captures").glob("*.txt"))]
    return [data[:limit] for data in found if any(word.encode() in data for word in words)]


def _whole(data: bytes) -> bytes:
    body = data.split(b"\r\n\r\n", 1)[-1]
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def _chunked(data: bytes) -> bytes:
    body = data.split(b"\r\n\r\n", 1)[-1]
    pieces = [body[i : i + 400] for i in range(0, len(body), 400)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


def _http_seeds() -> list[bytes]:
    bodies = _captures("data:", "{", limit=1200)
    switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    interim = [first + _whole(bodies[0]) for first in (switch, hint)]
    return [_whole(body) for body in bodies] + [_chunked(body) for body in bodies] + interim


def _body_seeds() -> list[bytes]:
    return [data.split(b"\r\n\r\n", 1)[-1] for data in _captures("data:")]


def _json_seeds() -> list[bytes]:
    kept = (b"{", b"[")
    bodies = [data.split(b"\r\n\r\n", 1)[-1].strip() for data in _captures("{", limit=4000)]
    return [body for body in bodies if body.startswith(kept)] + [
        b'{"object":"list","data":[{"id":"m","owned_by":"vllm","max_model_len":4096}]}',
        b'{"total_slots":4,"default_generation_settings":{"n_ctx":2048},"build_info":"b1"}',
        b'{"max_concurrent_requests":128,"max_total_tokens":4096,"max_input_length":100,"version":"3"}',
        b'{"models":[{"name":"m","context_length":4096}],"version":"0.32"}',
        b'{"error":{"message":"max_tokens is too large","param":"max_tokens"}}',
        b'{"detail":[{"loc":["body","min_tokens"],"input":{"ignore_eos":true},"msg":"extra"}]}',
    ]


def _pages(*names: str) -> list[bytes]:
    """Pages of metrics, cut into pieces of a few lines: the whole ones are long."""
    found: list[bytes] = []
    for name in names:
        lines = (DATA / name).read_bytes().split(b"\n")
        found += [b"\n".join(lines[i : i + 12]) for i in range(0, len(lines), 12)]
    return found


def _seeds(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((Path(__file__).parent / "seeds").glob(f"{name}_*"))]


def _request_files() -> list[bytes]:
    jsonl = _seeds("workload")[0]
    rows = jsonl.strip().replace(b"\n", b",")
    return [
        *_seeds("workload"),
        *(path.read_bytes() for path in sorted((RUN.parents[1] / "traces").iterdir())),
        b"[" + rows + b"]",
        b'{"data": [' + rows + b"]}",
        b'id;prompt\n1;"a\nb"\n',
        gzip.compress(jsonl, mtime=0),
    ]


TARGETS: dict[str, Target] = {
    "HTTP exchange": Target(exchange, _http_seeds, raises=False),
    "SSE stream": Target(stream, _body_seeds, raises=False),
    "NDJSON stream": Target(
        lambda data: stream(data, ndjson=True),
        lambda: [data.split(b"\r\n\r\n", 1)[-1] for data in _captures('"done"')],
        raises=False,
    ),
    "JSON body": Target(json_body, _json_seeds, raises=False),
    "control answers": Target(control_answers, _json_seeds, raises=False),
    "server metrics": Target(
        lambda data: read_server_page(_text(data)),
        lambda: _pages(
            "metrics/vllm_0.8.txt", "metrics/tgi.txt", "metrics/sglang.txt", "captures/llamacpp_after_metrics.txt"
        ),
        raises=False,
    ),
    "DCGM page": Target(
        lambda data: read_dcgm_page(_text(data)),
        lambda: _pages("metrics/dcgm_h100.txt", "metrics/dcgm_mig.txt"),
        raises=False,
    ),
    "request file": Target(lambda data: parse_workload(data, where="w"), _request_files),
    "vllm bench": Target(_importer(vllm_bench.parse), lambda: [(DATA / "importers/vllm_bench_0.32.json").read_bytes()]),
    "guidellm": Target(_importer(guidellm.parse), lambda: [(DATA / "importers/guidellm_0.8.json").read_bytes()]),
    "aiperf": Target(
        _importer(aiperf.parse),
        lambda: [b"\n".join((DATA / "importers/aiperf_0.13_profile_export.jsonl").read_bytes().split(b"\n")[:2])],
    ),
    "sweep TOML": Target(_toml(parse_spec), lambda: _seeds("sweep")),
    "matrix TOML": Target(_toml(parse_matrix), lambda: _seeds("matrix")),
    "prices": Target(lambda data: parse_prices(_text(data), "p"), lambda: _seeds("prices")),
    "plan": Target(lambda data: parse_plan_file(_text(data), "p"), lambda: _seeds("plan")),
    "points CSV": Target(lambda data: parse_points(_text(data), where="p"), lambda: _seeds("points")),
    "scores CSV": Target(lambda data: parse_scores(_text(data), where="s"), lambda: _seeds("scores")),
    "rate profile": Target(lambda data: schedule(_text(data)), lambda: _seeds("profile")),
    "rate table": Target(lambda data: schedule(table_profile(_text(data), "t")), lambda: _seeds("rates")),
    "manifest": Target(manifest, lambda: [seed[1:] for seed in _run_seeds()[:1]]),
    "journal": Target(journal, lambda: [_journal()], share=0.2),
    "journal, forged": Target(_rows_kept, lambda: [_journal()], share=0.2, mutate=_forged_journal),
    "Parquet": Target(parquet, lambda: [_parquet()], share=0.2),
    "Parquet, forged": Target(forged_parquet, lambda: [_parquet()], share=0.2, mutate=_forged_parquet),
    "run folder": Target(run_folder, _run_seeds, share=0.05),
    "SLO": Target(lambda data: parse_slo(_text(data)), lambda: _seeds("slo")),
    "shown text": Target(shown_text, lambda: _captures("error", "data:", limit=2000), raises=False),
}


def escape_of(target: Target, data: bytes) -> BaseException | None:
    """What came out of the parser that must not, or None."""
    try:
        target.run(data)
    except BenchsuiteError as error:
        str(error).encode("utf-8", "surrogatepass")
        return None if target.raises else error
    except BaseException as error:
        return error
    return None
