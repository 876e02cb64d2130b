"""What the server can take, as far as it says, and the words for what a sweep asks beyond that.

Sources: docs/METHODS.md, Servers, Capacity. Missing is None: a limit that nobody tells is not known to be met.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import httpx

from benchsuite.client.stream import clean_text
from benchsuite.errors import read_json
from benchsuite.servers.base import PROFILES, BodyPlan, ServerProfile

_SAYS_OF_ITSELF = {"vllm": "/version", "llamacpp": "/props", "tgi": "/info", "ollama": "/api/version"}
# paths of the server's machine and its templates are nobody's business in a report
_PRIVATE = ("path", "template", "token", "marker", "key")
_MOST_MODELS, _MOST_FACTS, _LONGEST = 2_000, 100, 300


def listed_models(answer: httpx.Response) -> list[str] | None:
    """Model ids in an answer of /v1/models, or None where the server does not list them; absurdly many are cut."""
    try:
        tree = read_json(answer.content) if answer.status_code == 200 else None
        return [clean_text(str(item["id"]))[:_LONGEST] for item in tree["data"][:_MOST_MODELS]] if tree else None
    except (ValueError, KeyError, TypeError):
        return None


def detect(client: httpx.Client, answer: httpx.Response, listed: list[str] | None) -> ServerProfile:
    """Which profile the server fits: by who owns its models (`answer`: of /v1/models), its own paths, its headers."""
    text = answer.text if listed is not None else ""
    if '"vllm"' in text:
        return PROFILES["vllm"]
    if '"llamacpp"' in text or "llama.cpp" in answer.headers.get("server", ""):
        return PROFILES["llamacpp"]
    if '"library"' in text and _answers(client, "/api/version"):
        return PROFILES["ollama"]
    if _answers(client, "/info", "max_concurrent_requests"):
        return PROFILES["tgi"]
    if _answers(client, "/api/version", "version"):
        return PROFILES["ollama"]
    if _answers(client, "/metrics", "vllm:"):
        return PROFILES["vllm"]
    if listed is None and "uvicorn" in answer.headers.get("server", ""):
        return PROFILES["transformers"]
    return PROFILES["openai"]


def server_facts(client: httpx.Client, profile: ServerProfile) -> dict[str, Any]:
    """What the server says of itself, kept as it says it; left out where it does not."""
    path = _SAYS_OF_ITSELF.get(profile.name)
    tree = ask_json(client, path) if path else None
    if not isinstance(tree, dict):
        return {}
    told = {
        clean_text(key): clean_text(value) if isinstance(value, str) else value
        for key, value in tree.items()
        if _is_short(value)
        and len(key) < _LONGEST
        and (key.startswith("max_") or not any(word in key for word in _PRIVATE))
    }
    return dict(list(told.items())[:_MOST_FACTS])


def _is_short(value: Any) -> bool:
    """True for a text or a finite number that fits on a line or two."""
    if isinstance(value, str):
        return len(value) < _LONGEST
    if isinstance(value, int):
        return abs(value) < 2**63
    return isinstance(value, float) and math.isfinite(value)


def ask_json(client: httpx.Client, path: str) -> Any:
    """The JSON that a GET of `path` answers with status 200; None for anything else."""
    try:
        answer = client.get(path)
        return read_json(answer.content) if answer.status_code == 200 else None
    except (httpx.HTTPError, ValueError):
        return None


def _answers(client: httpx.Client, path: str, needle: str = "") -> bool:
    try:
        answer = client.get(path)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and needle in answer.text


# vLLM's smallest default of --max-num-seqs on GPUs; large ones get 1024
_VLLM_LEAST_SEQS = 256


def capacity_facts(
    client: httpx.Client, profile: ServerProfile, facts: dict[str, Any], served: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The limits that the server tells, None for what it does not: one entry each.

    concurrent_requests: handled at a time. context_tokens: prompt and output of one request. input_tokens: prompt
    alone. requests_per_period, tokens_per_period: of a paid API.
    facts: the preflight's. served: facts of a server that we started, whose `command` holds its arguments.
    """
    found: dict[str, Any] = dict.fromkeys(("concurrent_requests", "context_tokens", "input_tokens"))
    match profile.name:
        case "tgi":
            info = _table(ask_json(client, "/info"))
            found["concurrent_requests"] = _whole(info.get("max_concurrent_requests"))
            found["context_tokens"] = _whole(info.get("max_total_tokens"))
            found["input_tokens"] = _whole(info.get("max_input_tokens", info.get("max_input_length")))
        case "ollama":
            found["context_tokens"] = _ollama_context(ask_json(client, "/api/ps"), facts["model"])
        case "llamacpp":
            props = _table(ask_json(client, "/props"))
            found["concurrent_requests"] = _whole(props.get("total_slots"))
            found["context_tokens"] = _whole(_table(props.get("default_generation_settings")).get("n_ctx"))
        case "vllm":
            found["concurrent_requests"] = _argument(served, "--max-num-seqs")
            found["context_tokens"] = _listed_context(ask_json(client, "/v1/models"), facts["model"])
    headers = facts.get("headers") or {}
    for key, header in (("requests", "x-ratelimit-limit-requests"), ("tokens", "x-ratelimit-limit-tokens")):
        value = headers.get(header, "")
        found[f"{key}_per_period"] = int(value) if value.isdecimal() and len(value) < 12 else None
    return found


def capacity_warnings(
    profile: ServerProfile,
    levels: Sequence[int],
    capacity: dict[str, Any],
    longest: dict[str, Any],
    n_servers: int = 1,
) -> list[str]:
    """Sentences for what the server cannot take, each with its remedy. Pure.

    levels: of the sweep, shared evenly by n_servers alike. longest: the set's longest request as the preflight found
    it: prompt_id, input_tokens, asked_output_tokens, refused (the server's words, or None).
    """
    return [*_too_many(profile, max(levels), n_servers, capacity), *_too_long(profile, capacity, longest)]


def _too_many(profile: ServerProfile, level: int, n_servers: int, capacity: dict[str, Any]) -> list[str]:
    limit, highest = capacity["concurrent_requests"], -(-level // n_servers)
    beyond = f"level {level}" + (f" ({highest} at each of {n_servers} servers)" if n_servers > 1 else "")
    words = []
    match profile.name:
        case "tgi" if limit is not None and highest > limit:
            words.append(
                f"TGI refuses what is beyond max_concurrent_requests = {limit}, so {beyond} will fail in part; "
                f"start it with --max-concurrent-requests {highest}"
            )
        case "llamacpp" if limit is not None and highest > limit:
            words.append(
                f"llama.cpp has {limit} slots, so at {beyond} {highest - limit} of {highest} requests wait, and TTFT "
                f"shows it; start it with {highest} slots (--parallel {highest}) and context for all of them"
            )
        case "vllm" if limit is not None and highest > limit:
            words.append(
                f"vLLM runs max_num_seqs = {limit} requests at a time, so at {beyond} {highest - limit} of {highest} "
                f"wait, and TTFT shows it; start it with --max-num-seqs {highest}"
            )
        case "vllm" if limit is None and highest > _VLLM_LEAST_SEQS:
            words.append(
                f"vLLM does not tell its max_num_seqs, whose default on GPUs is {_VLLM_LEAST_SEQS} or more: "
                f"{beyond} may queue; start it with --max-num-seqs {highest} to be sure"
            )
        case "ollama" if highest > 1:
            words.append(
                f"Ollama does not tell OLLAMA_NUM_PARALLEL, and its default is 1: then {beyond} is a queue of "
                f"{highest - 1}; start it with OLLAMA_NUM_PARALLEL={highest} (and OLLAMA_MAX_QUEUE of at least that)"
            )
    per_period = capacity.get("requests_per_period")
    if per_period is not None:
        words.append(
            f"the API allows {per_period} requests a period (x-ratelimit-limit-requests): what is beyond is refused "
            "with 429; --max-rps keeps below it"
        )
    return words


def _too_long(profile: ServerProfile, capacity: dict[str, Any], longest: dict[str, Any]) -> list[str]:
    who = f"the longest request of the set ({longest['prompt_id']})"
    if longest["refused"]:
        return [f"{who} was refused and will be at every level: {longest['refused']}"]
    tokens, asked = longest["input_tokens"], longest["asked_output_tokens"] or 0
    context, most = capacity["context_tokens"], capacity["input_tokens"]
    if tokens is None:
        return []
    if most is not None and tokens > most:
        return [f"{who} has {tokens} prompt tokens, and the server takes {most} (max_input_tokens)"]
    # a prompt that just fills the context leaves no room for a token, or is what Ollama left of a longer one
    if context is None or (tokens < context and tokens + asked <= context):
        return []
    does = {
        "ollama": "Ollama cuts prompts and answers to it without a word; raise OLLAMA_CONTEXT_LENGTH",
        "llamacpp": "llama.cpp ends such answers early; start it with a larger --ctx-size",
        "vllm": "vLLM refuses such requests; lower --max-output-tokens or raise --max-model-len",
        "tgi": "TGI refuses such requests; lower --max-output-tokens or raise --max-total-tokens",
    }
    limit = f"{who} needs {tokens} + {asked} tokens, and the context holds {context}"
    return [f"{limit}: {does[profile.name]}" if profile.name in does else limit]


def reset_prefix_cache(client: httpx.Client, plan: BodyPlan, base_urls: Sequence[str] = ("",)) -> str:
    """Empty the prefix cache of each server that has a route for that; what came of it, in words for the manifest.

    base_urls: of all servers; left out, the client's own. Where they do not agree, each is named with its own word.
    `reset`; `not offered` (no such route; vLLM has it only with VLLM_SERVER_DEV_MODE=1); `left warm` (cache_bust is
    off: reuse is wanted); `failed: ...`. The salt stays on whatever this says: it is the sure way.
    """
    if plan.cache_bust == "off":
        return "left warm"
    path = plan.profile.cache_reset_path
    if path is None:
        return "not offered"
    said = {url: _reset(client, url + path) for url in base_urls}
    if len(set(said.values())) == 1:
        return said[base_urls[0]]
    return "; ".join(f"{url}: {word}" for url, word in said.items())


def _reset(client: httpx.Client, url: str) -> str:
    try:
        answer = client.post(url)
    except httpx.HTTPError as error:
        return f"failed: {type(error).__name__}"
    if answer.status_code in (404, 405):
        return "not offered"
    return "reset" if answer.status_code == 200 else f"failed: HTTP {answer.status_code}"


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63 else None


def _listed_context(tree: Any, model: str) -> int | None:
    """max_model_len of the model in a list of models."""
    items = _table(tree).get("data")
    mine = [item for item in _list(items) if isinstance(item, dict) and item.get("id") == model]
    return _whole(mine[0].get("max_model_len")) if mine else None


def _ollama_context(tree: Any, model: str) -> int | None:
    """context_length of the loaded model, known by its name with or without tag."""
    items = _table(tree).get("models")
    for item in _list(items):
        if isinstance(item, dict) and item.get("name") in (model, f"{model}:latest"):
            return _whole(item.get("context_length"))
    return None


def _argument(served: dict[str, Any] | None, flag: str) -> int | None:
    """The value of a flag in the command of a server that we started; the last one counts."""
    words = _table(served).get("command")
    words = words.split() if isinstance(words, str) else [str(word) for word in words or ()]
    found = None
    for i, word in enumerate(words):
        value = word.removeprefix(f"{flag}=") if word.startswith(f"{flag}=") else None
        if word == flag and i + 1 < len(words):
            value = words[i + 1]
        if value is not None and value.isdecimal():
            found = _whole(int(value))
    return found
