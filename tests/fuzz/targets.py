"""Every parser of foreign bytes, as a function that takes any bytes: it ends, or raises a BenchsuiteError.

The parsers of a server's answers raise nothing at all: a request that cannot be read is a row.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from benchsuite.analysis.points_table import parse_points
from benchsuite.client.exchange import Exchange, WireError
from benchsuite.client.reading import error_message
from benchsuite.client.request import PointContext, Prepared, record_steps
from benchsuite.client.servers import PROFILES
from benchsuite.client.stream import read_stream, read_whole
from benchsuite.economics.prices import parse_prices
from benchsuite.economics.scenarios import parse_scenarios
from benchsuite.economics.scores import parse_scores
from benchsuite.errors import BenchsuiteError
from benchsuite.importers import aiperf, guidellm, vllm_bench
from benchsuite.importers.run import imported_run, with_levels
from benchsuite.load.capacity import capacity_facts
from benchsuite.load.detect import detect, listed_models, server_facts
from benchsuite.load.trial import refusal_words
from benchsuite.matrix_reading import parse_matrix
from benchsuite.parsing import read_toml
from benchsuite.slo import parse_slo
from benchsuite.spec import parse_spec
from benchsuite.store.journal import _batch
from benchsuite.telemetry.dcgm_page import read_dcgm_page
from benchsuite.telemetry.metric_names import read_server_page
from benchsuite.workload.prompts import parse_jsonl

DATA = Path(__file__).parents[1] / "data"
_CONTEXT = PointContext("run", "c0001-r0", 1, 0, 0, 0, streaming=True, keep_text=True)
_PREPARED = Prepared(b"", "p", None, 8)


@dataclasses.dataclass(frozen=True)
class Target:
    """run: takes the bytes. seeds: what they are made of. raises: False where not even a BenchsuiteError may come."""

    run: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    raises: bool = True


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
            if found.look_for_end():
                break
        except WireError as error:
            found.error = error
            break
    else:
        if not found.by_close:
            found.error = WireError("truncated", "the end")
    found.closed_ns = at
    rows: list[Any] = []
    for _ in record_steps(found, _PREPARED, _CONTEXT, rows):
        pass
    _batch(rows)


def stream(data: bytes, ndjson: bool = False) -> None:
    ends = [len(data) // 3, len(data) // 2, len(data)]
    facts = read_stream(data, ends, [1, 2, 3], keep_text=True, ndjson=ndjson)
    pa.array([facts.server_error, facts.malformed, facts.response_id, facts.finish_reason], pa.string())


def json_body(data: bytes) -> None:
    facts = read_whole(data, keep_text=True)
    pa.array([facts.server_error, facts.malformed, facts.response_id], pa.string())
    error_message(data).encode()
    refusal_words(data)


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
    found = detect(client, answer, listed)
    facts = {"model": listed[0] if listed else "m", "headers": {"x-ratelimit-limit-requests": _text(data[:20])}}
    json.dumps(server_facts(client, found), allow_nan=False, ensure_ascii=False).encode()
    for profile in PROFILES.values():
        server_facts(client, profile)
        capacity_facts(client, profile, facts, {"command": _text(data[:200])})


def _importer(parse: Callable[..., Any]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        points = parse(data.decode("utf-8", "replace"), where="theirs.json")
        imported_run(with_levels([p for p in points if p.concurrency is None], [8]) or points, run_id="r")

    return run


def _toml(parse: Callable[..., Any]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        try:
            tree = read_toml(_text(data))
        except ValueError:  # load_spec and load_matrix tell it in their own words
            return
        parse(tree, where="spec.toml")

    return run


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
    return [_whole(body) for body in bodies] + [_chunked(body) for body in bodies]


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


WORKLOAD = [
    b'{"id":"a","scenario":"s","messages":[{"role":"user","content":"hi"}],"max_output_tokens":5,"tags":["x"]}\n'
    b'{"prompt":"q","reference":"r","scorer":"exact","arrival_s":0.5}\n\n',
    b'{"id":"c","messages":[{"role":"system","content":""},{"role":"user","content":"\\u00e9"}]}',
]
SWEEP = [
    b'slo = "ttft_p95<1s,throughput>20"\n[server]\nbase_url = "http://127.0.0.1:8000/v1"\nmodel = "m"\nprofile = "vllm"\n'
    b'[server.extra_body]\ntemperature = 0.5\n[workload]\nsource = "wineval"\nrequests = 10\n[load]\nconcurrency = [1, 8]\n'
    b'repeats = 2\nworkers = "auto"\n[price]\nusd_per_hour = 1.5\n[timeouts]\nidle_s = 3\n',
    b'[server]\nbase_url = ["http://a:1", "http://b"]\n[server.fallback]\nbase_url = "https://c"\nmodel = "x"\n'
    b'on = ["429", "queue"]\nmax_waiting = 3\n[price.owned]\npurchase_price = 1000\nyears = 3\nelectricity_per_kwh = 0.1\n[telemetry]\ngpu_hz = 2.0\n',
]
MATRIX = [
    b'gpus = "tp"\n[serve]\nengine = "vllm M --x {tp}"\nready_timeout_s = 60\n[settings]\ntp = [1, 2]\nquant = ["none", "fp8"]\n'
    b'[[settings.exclude]]\ntp = 1\nquant = "fp8"\n[sweep]\n[sweep.load]\nconcurrency = [1]\n',
    b'[serve]\nengine = "llamacpp"\n[[setting]]\nname = "a"\nslots = 4\n[[setting]]\nname = "b"\nslots = 8\ngpus = 2\n',
]
PRICES = [
    b'[sources]\nx = "http://x"\n[presets.a]\nusd_per_hour = 1.5\nsource = "x"\nas_of = "2026-01"\nnote = "n"\n'
    b"[presets.a.tornado]\nyears = [1, 2]\n",
    b'[presets.b]\nsource = "x"\nas_of = "2026-01-02"\n[presets.b.owned]\npurchase_price = 30000\nyears = 3\npower_kw = 0.7\n'
    b'electricity_per_kwh = 0.1\n[api.c]\ninput_usd_per_1m_tokens = 0.5\ncached_input_usd_per_1m_tokens = 0.1\noutput_usd_per_1m_tokens = 2.0\nsource = "x"\nas_of = "2026-01-02"\n',
    b'{"gpt-x": {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "cache_read_input_token_cost": 1e-7}}',
]
SCENARIOS = [
    b'[[scenario]]\nname = "n"\nrequests_per_day = 100\ntokens_per_request = 500\ndays = 30\napi_usd_per_1m_tokens = 2.5\n'
    b"usd_per_hour = 1.5\ngpus = 1\n[scenario.printed]\napi_usd = 3.0\n"
]
POINTS = [
    b"model,concurrency,requests,time_s,ttft_s,input_tokens,output_tokens,total_tokens,throughput_tok_s\n"
    b"a,8,100,60.5,0.5,1000,2000,3000,4.1\na,16,100,40,0.7,1000,2000,3000,3.1\n"
]
SCORES = [b"model,score,n\na,0.8,100\nb,0.7,\n", b"model,item,score\na,1,1\na,2,0\nb,1,1\nb,2,1\n"]
SLO = [b"ttft_mean<1s,throughput>20", b"ttft_p95<=500ms,tpot_p99<50ms,requests>5", b"e2e_p50<3s,error_rate<1%"]


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
    "workload JSONL": Target(lambda data: parse_jsonl(_text(data).split("\n"), where="w"), lambda: WORKLOAD),
    "vllm bench": Target(_importer(vllm_bench.parse), lambda: [(DATA / "importers/vllm_bench_0.32.json").read_bytes()]),
    "guidellm": Target(_importer(guidellm.parse), lambda: [(DATA / "importers/guidellm_0.8.json").read_bytes()]),
    "aiperf": Target(
        _importer(aiperf.parse),
        lambda: [b"\n".join((DATA / "importers/aiperf_0.13_profile_export.jsonl").read_bytes().split(b"\n")[:2])],
    ),
    "sweep TOML": Target(_toml(parse_spec), lambda: SWEEP),
    "matrix TOML": Target(_toml(parse_matrix), lambda: MATRIX),
    "prices": Target(lambda data: parse_prices(_text(data), "p"), lambda: PRICES),
    "scenarios": Target(lambda data: parse_scenarios(_text(data), "s"), lambda: SCENARIOS),
    "points CSV": Target(lambda data: parse_points(_text(data), where="p"), lambda: POINTS),
    "scores CSV": Target(lambda data: parse_scores(_text(data), where="s"), lambda: SCORES),
    "SLO": Target(lambda data: parse_slo(_text(data)), lambda: SLO),
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
