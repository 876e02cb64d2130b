"""A run folder may be anybody's: nothing in it starts a program, names or sends a secret, or reads a user's file."""

from __future__ import annotations

import json
import shlex
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from factory import run_folder
from pydantic.fields import FieldInfo

from benchsuite.base_url import BaseUrl, MetricsUrl
from benchsuite.errors import InputError
from benchsuite.manifest import RunManifest
from benchsuite.spec import Variable, extra, named_outside, parse_spec, spec_keys

SECRET = "aws-secret-0123456789"
EVENTS = ("open", "socket.connect", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.fork")
_seen: list[tuple[str, str]] | None = None  # what this process does, while a test watches it


def _note(event: str, args: tuple[Any, ...]) -> None:
    if _seen is not None and event in EVENTS:
        _seen.append((event, str(args)))


sys.addaudithook(_note)


@pytest.fixture
def watched() -> Iterator[list[tuple[str, str]]]:
    """What this process opens, connects to and starts in the test."""
    global _seen
    _seen = []
    yield _seen
    _seen = None


# key of the manifest -> what a stranger would put there; URL, FILE and PROGRAM stand for traps
URL, FILE, PROGRAM = "http://127.0.0.1:PORT", "/USER/secret.txt", "/USER/bin/python"
SERVER = {"base_url": URL}
TRAPS: dict[str, dict[str, Any]] = {
    "url": {"server": SERVER},
    "further url": {"server": SERVER | {"more_base_urls": [URL + "/b"]}},
    "variable": {"server": SERVER | {"api_key_env": "AWS_SECRET_ACCESS_KEY"}},
    "file": {"server": SERVER | {"api_key_file": FILE}},
    "header of a variable": {"server": SERVER | {"headers": {"x-key": "env:AWS_SECRET_ACCESS_KEY"}}},
    "header of a file": {"server": SERVER | {"headers": {"authorization": f"Bearer file:{FILE}"}}},
    "another host": {"server": SERVER | {"headers": {"host": "thief.example.com"}}},
    "query": {"server": SERVER | {"query": {"key": "env:AWS_SECRET_ACCESS_KEY"}}},
    "route": {"server": SERVER | {"path": "/thief/chat/completions"}},
    "tls": {"server": {"base_url": URL.replace("http", "https"), "insecure": True}},
    "fallback": {"server": SERVER | {"fallback": {"base_url": URL + "/f", "model": "m", "api_key_env": "HF_TOKEN"}}},
    "metrics": {"server": SERVER, "telemetry": {"metrics_url": URL + "/metrics"}},
    "dcgm": {"server": SERVER, "telemetry": {"dcgm_url": URL + "/dcgm", "gpu": "dcgm"}},
    "workload": {"server": SERVER, "workload": {"source": FILE}},
    "workload of the hub": {"server": SERVER, "workload": {"source": "hf:thief/set:train"}},
    "tokenizer": {"server": SERVER, "workload": {"tokenizer": FILE}},
    "body": {"server": SERVER | {"extra_body": {"context": f"@{FILE}"}}, "sampling": {"system_prompt": f"@{FILE}"}},
    "program": {"server": SERVER, "launch": f"vllm m --python {PROGRAM}"},
    "image": {"server": SERVER, "launch": "docker:vllm m --image thief/vllm"},
}


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[Any]:
    """Makes a folder with one of TRAPS, and says what of it was touched."""
    user, folder = tmp_path / "user", tmp_path / "run"
    (user / "bin").mkdir(parents=True)
    (user / "secret.txt").write_text(SECRET)
    for program in ("python", "vllm", "docker"):
        (user / "bin" / program).write_text(f"#!/bin/sh\ntouch {user}/started\n")
        (user / "bin" / program).chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = str(listener.getsockname()[1])

        def make(name: str) -> Path:
            tree = json.loads(json.dumps(TRAPS[name]).replace("PORT", port).replace("/USER", str(user)))
            plan = tree.pop("launch", None)
            run_folder(folder, levels=(2,), requests=4)
            manifest = json.loads((folder / "manifest.json").read_text())
            manifest |= {"clock": {"origin_wall_ns": 10**18, "origin_monotonic_ns": 0}}
            manifest |= {"status": "interrupted", "planned_points": ["c0002-r0", "c0004-r0"]}
            manifest |= {"spec": manifest["spec"] | {"load": {"concurrency": [2, 4]}} | tree}
            manifest |= {"launched_server": plan and {"plan": plan, "engine": "vllm", "command": [PROGRAM]}}
            (folder / "manifest.json").write_text(json.dumps(manifest))
            return folder

        def touched(watched: list[tuple[str, str]]) -> list[str]:
            mine = [f"{event} {args}" for event, args in watched if event != "open" or str(user) in args]
            if (user / "started").exists():
                mine.append("started")
            try:
                listener.accept()
                mine.append("connected")
            except BlockingIOError:
                pass
            return mine

        make.touched = touched  # type: ignore[attr-defined]
        make.path = f"{user}/bin"  # type: ignore[attr-defined]
        yield make


@pytest.mark.parametrize("name", TRAPS)
def test_no_verb_does_what_a_folder_names(name: str, trap: Any, watched: list[Any], cli: Any, monkeypatch: Any) -> None:
    """Every verb that takes a run folder: nothing is connected to, started, or read outside of it; a resume is refused.

    Its command names each thing anew, and so what it would do can be read before it is done.
    """
    folder = trap(name)
    copy = shutil.copytree(folder, folder.with_name("copy"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("BENCHSUITE_VLLM_PYTHON", "")
    for verb in (
        "decide RUN", "report RUN", "report RUN --format md", "check RUN", "gate RUN --slo ttft_mean<9s",
        "gate RUN --baseline COPY", "gate RUN --history .. --max-regression cost=9%",
        "plan RUN --requests-per-day 9 --usd-per-hour 1", "frontier RUN COPY --scores RUN/none.csv", "ab RUN COPY",
        "report RUN COPY --output RUN/c.html", "sweep --resume RUN", "sweep --resume RUN --quiet --slo ttft_mean<9s",
        "recover RUN", "sweep --resume RUN", "score RUN", "score RUN --scorer *=exact",
    ):  # fmt: skip
        words = verb.replace("RUN", str(folder)).replace("COPY", str(copy)).replace("..", str(folder.parent))
        ended = cli(words)
        assert not isinstance(ended.error, click.ClickException), (words, ended)
        if "--resume" in verb:
            assert isinstance(ended.error, InputError), (verb, ended)
            assert SECRET not in str(ended.error)
            command = shlex.split(ended.error.hint)
            assert command[:4] == ["benchsuite", "sweep", "--resume", str(folder)]
            named = RunManifest.read(json.loads((folder / "manifest.json").read_text()), "m").named_outside()
            assert command[4:] == [word for flags in named.values() for word in flags]
    assert trap.touched([one for one in watched if str(folder.parent) in one[1] or one[0] != "open"]) == []


def test_what_is_given_takes_the_place_of_what_the_folder_says(trap: Any, cli: Any, monkeypatch: Any) -> None:
    """One thing named anew is no leave for the others; another server than the run's is refused before it is asked."""
    folder = trap("metrics")
    url = json.loads((folder / "manifest.json").read_text())["spec"]["server"]["base_url"]
    monkeypatch.setenv("OPENAI_BASE_URL", url + "/v1")  # the user's own word, as good as a flag where it is the same
    for flags in ((), ("--base-url", url)):
        lacking = cli("sweep --resume", folder, flags)
        assert shlex.split(lacking.error.given.split(";")[0]) == ["--metrics-url", url + "/metrics"]
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1")
    assert "--base-url" in cli("sweep --resume", folder, ("--metrics-url", url)).error.given
    for flags in (("--base-url", "http://127.0.0.1:1"), ("--base-url", url, "--header", "host=thief.example.com")):
        other = cli("sweep --resume", folder, (*flags, "--metrics-url", url))
        assert isinstance(other.error, InputError)
        assert "server.base_url" in other.error.what or "server.headers" in other.error.what
    assert trap.touched([]) == []


def test_every_key_that_leads_out_is_marked() -> None:
    """Keys of a URL's or a variable's type, or named like a file, are; and each is given by a flag."""
    marks = {BaseUrl.__metadata__, MetricsUrl.__metadata__, Variable.__metadata__}  # type: ignore[attr-defined]

    def leads_out(name: str, info: FieldInfo) -> bool:
        texts = (str(info.annotation), tuple(info.metadata))
        return (
            texts[1] in marks
            or "AfterValidator" in texts[0]
            or name.endswith(("_file", "_url", "_env", "headers", "query"))
        )

    marked = {name for name, info in spec_keys() if extra(info, "outside")}
    assert {name for name, info in spec_keys() if leads_out(name, info)} <= marked
    assert marked >= {"workload.source", "workload.tokenizer", "server.insecure", "server.path"}
    plain = parse_spec({"server": {"base_url": "http://h"}}, where="test")
    assert named_outside(plain) == {"server.base_url": ("--base-url", "http://h")}
