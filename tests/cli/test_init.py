"""`benchsuite init`: a sweep.toml that loads, for the server that is there or for none."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest
from fakes.ollama import FakeOllama
from fakes.replay import Replay
from fakes.tgi import FakeTgi

from benchsuite.cli.init import levels_for
from benchsuite.cli.spec_file import spec_toml
from benchsuite.load import server_probe
from benchsuite.request_spec import ArrivalSpec
from benchsuite.spec import SweepSpec, load_spec, parse_spec, spec_keys
from benchsuite.strict_model import table_in

KEY = re.compile(r"^(?:# )?(\w+) = ", re.M)


@pytest.fixture(autouse=True)
def nobody_listens(monkeypatch, tmp_path):
    """No port of this machine is looked at, and files go to an empty folder."""
    monkeypatch.setattr(server_probe, "PORTS", ())
    monkeypatch.chdir(tmp_path)


def keys_of_the_spec() -> list[str]:
    """Every dotted key of a specification, tables left out."""
    return [key for key, info in spec_keys() if not table_in(info.annotation)]


def keys_in(text: str) -> list[str]:
    """Every dotted key of a file, those in comments too."""
    table, found = "", []
    for line in text.splitlines():
        if header := re.match(r"(?:# )?\[([\w.]+)\]", line):
            table = header[1] + "."
        elif key := re.match(r"(?:# )?(\w+) = ", line):
            found.append(table + key[1])
    return found


def test_without_a_server_it_is_a_template(cli, tmp_path):
    """The template loads, has every key of the specification once, and says what to do."""
    ended = cli("init")
    assert ended.code == 0
    assert "no server answers" in ended.out
    text = (tmp_path / "sweep.toml").read_text()
    assert sorted(keys_in(text)) == sorted(keys_of_the_spec())
    spec = load_spec(tmp_path / "sweep.toml", {})
    assert (spec.server.base_url, spec.workload.requests) == ("http://127.0.0.1:8000", 1280)
    assert spec.load == SweepSpec(server=spec.server).load
    assert max(len(line) for line in text.splitlines()) <= 120


def test_every_comment_is_a_line_that_works():
    """Taking the # away from any one key, or from a whole optional table, gives a file that loads; keys of a random set
    go with the set, its lengths, and what they are a part of, those of an open loop with a rate."""
    text = spec_toml("", {"server.base_url": "http://127.0.0.1:8000"})
    lines = text.splitlines()
    lengths = "source = 'random'\noutput_tokens = 9\ninput_tokens = 900"
    random = dict.fromkeys(("length_stdev", "length_range", "prefix_tokens"), lengths)
    random |= {
        "input_tokens": "source = 'random'\noutput_tokens = 9",
        "output_tokens": "source = 'random'\ninput_tokens = 9",
    }
    random |= {"prefix_share": f"{lengths}\nprefix_tokens = 200", "scenario": "source = 'random'"}
    starts = [i for i, line in enumerate(lines) if re.match(r"# \[", line)]
    optional = {i for start in starts for i in range(start, _end(lines, start))}
    tried = 0
    for i, line in enumerate(lines):
        if i in optional or not re.match(r"# \w+ = ", line):
            continue
        name = line.split()[1]
        tree = tomllib.loads("\n".join([*lines[:i], line[2:], random.get(name, ""), *lines[i + 1 :]]))
        if name in ArrivalSpec.model_fields:  # of an open loop
            tree["load"] = {"rate": [1.0]}
            tree["arrivals"] |= {"replay": True} if name in ("speed", "from_s", "to_s") else {}
        parse_spec(tree, where=line)
        tried += 1
    assert tried > 30
    for start in starts:
        table = [line.removeprefix("# ") for line in lines[start : _end(lines, start)]]
        drop = ("api_key_file",) if "fallback" in table[0] else ()  # it stands instead of api_key_env
        table = [line for line in table if not line.startswith(drop)] if drop else table
        parse_spec(tomllib.loads("\n".join([*lines[:start], *table, *lines[_end(lines, start) :]])), where=table[0])


def _end(lines: list[str], start: int) -> int:
    return next((i for i in range(start, len(lines)) if not lines[i].strip()), len(lines))


def test_defaults_are_those_of_the_specification():
    """A commented key that has a default shows that one, unless it is an example."""
    text = spec_toml("", {"server.base_url": "http://127.0.0.1:8000"})
    spec = SweepSpec.model_validate({"server": {"base_url": "http://x"}})
    shown = dict(re.findall(r"^# (\w+) = (\S+)", text, re.M))
    assert json.loads(shown["cooldown_max_s"]) == spec.load.cooldown_max_s == 300.0
    assert json.loads(shown["driver"]) == spec.load.driver == "wire"
    assert json.loads(shown["gpu_sample_hz"]) == spec.telemetry.gpu_sample_hz == 1.0


SLOTS = {"total_slots": 4, "default_generation_settings": {"n_ctx": 2048, "params": {}}, "build_info": "b1-\nx"}


def page(tree: Any) -> bytes:
    return f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n{json.dumps(tree)}".encode()


@pytest.mark.parametrize(
    ("routes", "told"),
    [
        (
            {"GET /v1/models": page({"data": [{"id": "m", "owned_by": "llamacpp"}]}), "GET /props": page(SLOTS)},
            ("llamacpp", "m", (1, 2, 4), 100),
        ),
        ({"GET /v1/models": "vllm_get_models"}, ("vllm", None, (8, 16, 32, 48, 64, 128), 1280)),
    ],
)
def test_the_file_fits_the_server(cli, tmp_path, routes, told):
    """Profile, model, levels and the size of the set are those of the server that answers."""
    with Replay(routes) as fake:
        ended = cli("init --base-url", f"{fake.base_url}/v1")
        assert ended.code == 0, ended
        spec = load_spec(tmp_path / "sweep.toml", {})
        assert spec.server.base_url == fake.base_url
    assert f"found {'llama.cpp b1- x' if told[0] == 'llamacpp' else 'vLLM'}" in ended.out
    profile, model, levels, requests = told
    assert (spec.server.profile, spec.load.concurrency, spec.workload.requests) == (profile, levels, requests)
    assert spec.server.model == model if model else spec.server.model
    text = (tmp_path / "sweep.toml").read_text()
    assert ("the server takes 4 at a time (slots)" in text) == (profile == "llamacpp")
    assert sorted(keys_in(text)) == sorted(keys_of_the_spec())


@pytest.mark.parametrize(("fake", "profile"), [(FakeOllama, "ollama"), (FakeTgi, "tgi")])
def test_the_usual_ports_are_looked_at(cli, monkeypatch, tmp_path, fake, profile):
    """A server on a usual port is found without being named, and is shown no API key."""
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    with fake() as server:
        monkeypatch.setattr(server_probe, "PORTS", (int(server.base_url.rpartition(":")[2]),))
        ended = cli("init")
        assert ended.code == 0, ended
        assert not [request for request in server.asked if "authorization" in request.headers]
    spec = load_spec(tmp_path / "sweep.toml", {})
    assert (spec.server.base_url, spec.server.profile) == (server.base_url, profile)
    assert spec.server.model


@pytest.mark.parametrize(("context", "cap"), [(32768, None), (4096, 557), (2048, None)])
def test_answers_are_capped_to_the_context(cli, tmp_path, context, cap):
    """Where the longest prompts leave little room, the cap on answers is what they leave, if that is worth having."""
    listed = {"data": [{"id": "m", "owned_by": "llamacpp"}]}
    slots = SLOTS | {"default_generation_settings": {"n_ctx": context}}
    with Replay({"GET /v1/models": page(listed), "GET /props": page(slots)}) as fake:
        assert cli("init --base-url", fake.base_url).code == 0
    assert load_spec(tmp_path / "sweep.toml", {}).workload.max_output_tokens == cap
    assert ("fail: a larger context" in " ".join((tmp_path / "sweep.toml").read_text().split())) == (context < 32768)


def test_a_file_that_is_there_stays(cli, tmp_path):
    """Without --force nothing is written over; with it, the file is anew."""
    (tmp_path / "sweep.toml").write_text("mine")
    ended = cli("init")
    assert (ended.code, ended.out) == (2, "")
    assert "--force" in ended.error.hint
    assert (tmp_path / "sweep.toml").read_text() == "mine"
    assert cli("init", "--force").code == 0
    assert load_spec(tmp_path / "sweep.toml", {})


@pytest.mark.parametrize(("url", "code"), [("nonsense", 2), ("http://127.0.0.1:9", 1)])
def test_a_server_that_cannot_be(cli, tmp_path, url, code):
    """What is no URL is bad input; a server that is not there failed; neither leaves a file."""
    assert cli("init --base-url", url).code == code
    assert list(tmp_path.iterdir()) == []


def test_names_of_models_cannot_break_the_file(cli, tmp_path):
    """Quotes, newlines and lone surrogates in a model's name stay inside the string."""
    names = ['a"\n[price]\nusd_per_hour = 0 #', "b\nc", "\ud800"]
    listed = {"data": [{"id": name, "owned_by": "vllm"} for name in names]}
    with Replay({"GET /v1/models": page(listed)}) as fake:
        assert cli("init --base-url", fake.base_url).code == 0
    spec = load_spec(tmp_path / "sweep.toml", {})
    assert (spec.server.model, spec.price.usd_per_hour) == (names[0], None)


def test_what_it_writes_can_be_swept(cli, monkeypatch, simulated, tmp_path):
    """`init` and `sweep` of its file, with nothing said in between but how small it shall be."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert cli("init --base-url", simulated.base_url).code == 0
    small = "--requests 8 --concurrency 1,2 --max-output-tokens 2 --warmup-requests 0 --gpu off"
    ended = cli("sweep sweep.toml", small)
    (run,) = {path.parent for path in tmp_path.glob("results/*/manifest.json")}
    assert ended.code == cli("decide", run).code, ended


@pytest.mark.parametrize(
    ("slots", "levels"),
    [
        (None, [8, 16, 32, 48, 64, 128]),
        (1, [1]),
        (4, [1, 2, 4]),
        (6, [1, 2, 4, 6]),
        (32, [8, 16, 32]),
        (256, [8, 16, 32, 48, 64, 128]),
    ],
)
def test_levels_fit_the_slots(slots, levels):
    """No level is above what the server works on at a time."""
    assert levels_for(slots) == levels
