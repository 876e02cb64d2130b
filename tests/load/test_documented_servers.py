"""SGLang, LMDeploy and TensorRT-LLM, known from their documentation: found out, checked up, and written into a spec."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from fakes.replay import FOLDER, Replay

from benchsuite.cli.main import main
from benchsuite.load.doctor import check_server
from benchsuite.load.preflight import preflight
from benchsuite.load.server_probe import control_client
from benchsuite.servers import SERVERS
from benchsuite.spec import load_spec, parse_spec
from benchsuite.telemetry.server_metrics import FAMILIES
from benchsuite.workload.dataset import Prompt

PROMPT = Prompt("p", None, ({"role": "user", "content": "one two three"},), None, 8)


def page(body: bytes, kind: str = "application/json") -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n\r\n".encode() + body


def models(owner: str) -> bytes:
    return page(json.dumps({"data": [{"id": "tiny-llama", "owned_by": owner, "max_model_len": 4096}]}).encode())


def metrics(family: str) -> bytes:
    """A page with the first name of every figure of a family."""
    names = [name for totals in FAMILIES[family].values() for name, _, _ in totals[0]]
    return page("".join(f"{name} 0\n" for name in names).encode(), "text/plain")


STREAM = (FOLDER / "vllm_chat_stream.txt").read_bytes()  # OpenAI's protocol is what all three speak
SERVERS_BY_NAME = {
    "sglang": {
        "GET /v1/models": models("sglang"),
        "GET /server_info": page(
            json.dumps(
                {
                    "version": "0.5.21",
                    "api_key": "secret",
                    "internal_states": [{"effective_max_running_requests_per_dp": 4}],
                }
            ).encode()
        ),
        "GET /metrics": metrics("sglang"),
        "POST /v1/chat/completions": STREAM,
    },
    "lmdeploy": {
        "GET /v1/models": models("lmdeploy"),
        "GET /metrics": metrics("lmdeploy"),
        "POST /v1/chat/completions": STREAM,
    },
    "trtllm": {
        "GET /v1/models": models("tensorrt_llm"),
        "GET /version": page(b'{"version": "1.2.1"}'),
        "GET /metrics": page(b"[]"),
        "GET /prometheus/metrics": metrics("trtllm"),
        "POST /v1/chat/completions": STREAM,
    },
}


@pytest.mark.parametrize(
    ("name", "version", "slots", "context", "salted"),
    [
        ("sglang", "0.5.21", 4, 4096, True),
        ("lmdeploy", None, None, None, False),
        ("trtllm", "1.2.1", None, None, True),
    ],
)
def test_preflight_and_doctor(name: str, version: str | None, slots: int | None, context: int | None, salted: bool):
    """Kind, version, limits and metrics are known, requests have its fields, and doctor says that it is untried."""
    with Replay(SERVERS_BY_NAME[name]) as fake:
        tree = {"server": {"base_url": fake.base_url}, "workload": {"fixed_length": True}}
        spec = parse_spec(tree, where="test")
        with control_client(spec) as client:
            found = preflight(spec, client, (PROMPT,))
        (body, *_) = fake.bodies("/v1/chat/completions")
        lines = {line.name: line for line in check_server(spec)}
    assert (found.plan.profile.name, found.facts["server"].get("version")) == (name, version)
    assert "secret" not in json.dumps(found.facts)
    limits = found.facts["capacity"]
    assert (limits["concurrent_requests"], limits["context_tokens"]) == (slots, context)
    fields = {key: 8 if value == "$N" else value for key, value in SERVERS[name].fixed_length.items()}
    assert fields.items() <= body.items()
    assert ("cache_salt" in body) == salted
    assert (lines["kind"].status, lines["metrics"].status) == ("warn", "ok")
    assert f"by {name}'s names" in lines["metrics"].detail


@pytest.mark.parametrize("name", SERVERS_BY_NAME)
def test_init(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """`init` writes a spec for it, with its profile and model, and levels within its slots where it tells them."""
    monkeypatch.chdir(tmp_path)
    with Replay(SERVERS_BY_NAME[name]) as fake:
        monkeypatch.setattr(sys, "argv", ["benchsuite", "init", "--base-url", fake.base_url])
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code
    spec = load_spec(tmp_path / "sweep.toml", {})
    assert (spec.server.profile, spec.server.model) == (name, "tiny-llama")
    assert spec.load.concurrency == ((1, 2, 4) if name == "sglang" else (8, 16, 32, 48, 64, 128))
