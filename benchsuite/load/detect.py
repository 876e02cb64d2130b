"""Which server is it, and what does it say of itself? Asked over the control client, never under load."""

from __future__ import annotations

import math
from typing import Any

import httpx

from benchsuite.client.reading import clean_text
from benchsuite.client.servers import PROFILES, ServerProfile
from benchsuite.parsing import read_json

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
