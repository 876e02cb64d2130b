"""The specification drives its surfaces: every key has its words, flag, line and schema, and each says the same."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
from command_line import CommandLine

from benchsuite.cli.spec_file import spec_toml
from benchsuite.cli.spec_options import SpecCommand, flags_of, spec_options
from benchsuite.errors import SpecError
from benchsuite.spec import SweepSpec, extra, load_spec, overrides, parse_spec, spec_flags, spec_keys
from benchsuite.strict_model import table_in

KEYS = {key: info for key, info in spec_keys() if not table_in(info.annotation)}
KINDS = {flag.name: flag.kind for flag in flags_of("SweepSpec")}
# a value for every key that is not its default; those of a table that must be whole come with the others of it
SERVER = {"server.base_url": "http://h:1"}
FALLBACK = {"server.fallback.base_url": "http://f:1", "server.fallback.model": "m"}
PRICES = {"server.fallback.usd_per_1m_input": 1.0, "server.fallback.usd_per_1m_output": 2.0}
OWNED = {"price.owned.purchase_price": 9.0, "price.owned.years": 2.0, "price.owned.electricity_per_kwh": 0.5}
VALUES: dict[str, Any] = {
    **SERVER, **FALLBACK, **PRICES, **OWNED, "slo": "ttft<9s", "goodput": "ttft < 9 s", "server.model": "n",
    "server.more_base_urls": ["http://i:1"],
    "server.profile": "vllm", "server.endpoint": "completions", "server.stream": False, "server.api_key_env": "KEY",
    "server.api_key_file": "k", "server.extra_body": {"temperature": 0.5}, "server.insecure": True,
    "server.fallback.api_key_env": "F", "server.fallback.api_key_file": "f", "server.fallback.on": ["503"],
    "server.fallback.max_waiting": 3, "server.fallback.extra_body": {"top_p": 1}, "workload.source": "set.jsonl",
    "workload.cache_bust": "off", "workload.save_text": False,
    "load.concurrency": [2, 4], "load.workers": "auto", "load.driver": "httpx",
    "load.max_errors": "5%", "telemetry.gpu": "off", "telemetry.gpu_ids": ["GPU-1"], "price.preset": "h100-low",
    "telemetry.dcgm_url": "http://d:1", "telemetry.metrics_url": "http://m:1", "price.owned.currency": "CNY",
    "workload.length_stdev": 0.5, "workload.length_range": 0.5, "workload.prefix_share": 0.5,
    "workload.columns": {"prompt": "question"},
    "workload.scenario": "D(9,4)", "workload.tokenizer": "t.json", "price.owned.mode": "full",
    "price.owned.utilisation": 0.5, "price.owned.maintenance_ratio": 0.5,
    "server.headers": {"x-a": "1", "api-key": "env:KEY"}, "server.query": {"v": "2024-10-21"}, "server.path": "/a/b",
    "server.fallback.headers": {"x-b": "2"}, "server.fallback.query": {"w": "1=2"}, "sampling.top_p": 0.5,
    "sampling.stop": ["a,b", "\n"], "sampling.presence_penalty": -1.5, "sampling.frequency_penalty": 1.5,
    "sampling.reasoning_effort": "none", "sampling.chat_template_kwargs": {"enable_thinking": False, "of": None},
    "load.rate": [2.0, 4.5], "arrivals.arrival": "gamma", "arrivals.rate_profile": "ramp 0.5 1.5",
    "arrivals.tail": "drain", "arrivals.over": "drop", "arrivals.speed": [2.0, 4.0],
    "sampling.system_prompt": "Be brief.\n\"Do.\"",
    "find.variable": "rate", "find.tolerance": 0.25, "find.slack": 0.25, "find.confidence": 0.75,
}  # fmt: skip

RANDOM = (
    "input_tokens", "output_tokens", "length_stdev", "length_range", "prefix_tokens", "prefix_share", "scenario"
)  # fmt: skip


def keys_with(key: str) -> dict[str, Any]:
    """The key with a value, and what must be there with it."""
    info = KEYS[key]
    plain = (not info.default) if isinstance(info.default, bool) else 7 if info.annotation in (int, int | None) else 7.0
    whole = SERVER | (FALLBACK if ".fallback." in key else {}) | (OWNED if ".owned." in key else {})
    whole |= PRICES if "usd_per_1m" in key else {}
    whole |= {"price.owned.currency": "CNY", "price.owned.currency_per_usd": 7.0} if ".currency" in key else {}
    whole |= {"server.endpoint": "chat"} if key.startswith("sampling.") else {}
    whole |= {"server.fallback.on": ["queue"]} if key == "server.fallback.max_waiting" else {}
    if key.startswith("arrivals."):
        replays = key.removeprefix("arrivals.") in ("replay", "speed", "from_s", "to_s")
        whole |= {"arrivals.replay": True} if replays else {"load.rate": [2.0]}
        whole |= {"arrivals.arrival": "gamma"} if key == "arrivals.burstiness" else {}
        whole |= {"arrivals.max_in_flight": 7} if key == "arrivals.over" else {}
    if key.removeprefix("workload.") in RANDOM:
        lengths = {} if key == "workload.scenario" else {"workload.input_tokens": 90, "workload.output_tokens": 9}
        prefix = {"workload.prefix_tokens": 7} if key == "workload.prefix_share" else {}
        whole |= {"workload.source": "random"} | lengths | prefix
    return whole | {key: VALUES.get(key, plain)}


def value_of(spec: SweepSpec, key: str) -> Any:
    node: Any = spec.model_dump(mode="json")
    for name in key.split("."):
        node = node[name]
    return node


def words(keys: dict[str, Any]) -> list[str]:
    """The keys as words of the command line."""
    found = []
    for name, (key, info) in spec_flags().items():
        flag = extra(info, "flag") or ""
        if isinstance(keys.get(key), bool):
            found.append(flag.split("/")[0 if keys[key] else 1] if "/" in flag else flag)
        elif key in keys:
            value, named = keys[key], "--" + name.replace("_", "-")
            if KINDS[name] == "many":
                items = [f"{n}={v}" for n, v in value.items()] if isinstance(value, dict) else value
                found += [word for item in items for word in (named, item)]
            elif isinstance(value, dict):
                found += [named, json.dumps(value)]
            else:
                found += [named, ",".join(map(str, value if isinstance(value, list) else [value]))]
    return found


PARSED = {
    of: spec_options(of=of)(SpecCommand(of, callback=lambda **flags: overrides(flags))) for of in ("sweep", "find")
}


def verb_of(key: str) -> str:
    return "find" if key.startswith("find.") else "sweep"


@pytest.mark.parametrize("key", KEYS)
def test_every_key_has_its_surfaces(key: str) -> None:
    """Flag, line of the file and --print-spec each set the key to the value given; it has words, in the schema too."""
    info, keys = KEYS[key], keys_with(key)
    assert info.description
    spec = load_spec(None, keys)
    assert value_of(spec, key) == keys[key]
    if extra(info, "flag"):
        by_flag = PARSED[verb_of(key)].main([*words(keys)], standalone_mode=False)
        assert value_of(load_spec(None, keys | by_flag), key) == keys[key]
        assert key in by_flag
    assert parse_spec(tomllib.loads(spec_toml("", keys)), where="file") == spec


@pytest.mark.parametrize("key", [key for key, info in KEYS.items() if extra(info, "flag")])
def test_print_spec(key: str, cli: CommandLine) -> None:
    """What --print-spec prints, read back, is the same specification."""
    keys = {name: value for name, value in keys_with(key).items() if extra(KEYS[name], "flag")}
    done = cli(verb_of(key), "--print-spec", tuple(words(keys)))
    assert done.code == 0, done.error
    assert parse_spec(tomllib.loads(done.out), where="printed") == load_spec(None, keys)


def test_the_schema_has_every_key(cli: CommandLine) -> None:
    """The JSON schema names every key, with what it means; nothing in a file is required that a flag may give."""
    schema = json.loads(cli("schema").out)

    def keys(table: dict[str, Any], path: str = "") -> list[str]:
        found = []
        for name, info in table["properties"].items():
            inner = info.get("$ref") or next((way["$ref"] for way in info.get("anyOf", []) if "$ref" in way), None)
            assert info["description"]
            found += keys(schema["$defs"][inner.rpartition("/")[2]], f"{path}{name}.") if inner else [path + name]
        return found

    assert sorted(keys(schema)) == sorted(KEYS)
    assert "required" not in schema


def test_the_server_of_the_environment(cli: CommandLine, monkeypatch, tmp_path) -> None:
    """OPENAI_BASE_URL names the server where no flag and no file does, and its mistakes are told with its name."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://e:1/v1")
    assert load_spec(None, {}).server.base_url == "http://e:1"
    assert load_spec(None, {"server.base_url": "http://f:1"}).server.base_url == "http://f:1"
    (tmp_path / "s.toml").write_text('[server]\nbase_url = "http://t:1"\n')
    assert load_spec(tmp_path / "s.toml", {}).server.base_url == "http://t:1"
    monkeypatch.setenv("OPENAI_BASE_URL", "no-url")
    with pytest.raises(SpecError) as refused:
        load_spec(None, {})
    assert "OPENAI_BASE_URL" in str(refused.value.where)
