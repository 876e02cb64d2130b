"""What differs between OpenAI-compatible servers, as data; and the request bodies that follow from it. Pure.

Sources: docs/METHODS.md, Servers. A preflight (load/preflight.py) finds out what a server really does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from benchsuite.workload.dataset import Prompt

Endpoint = Literal["chat", "completions", "native"]
LimitField = Literal["max_tokens", "max_completion_tokens"]
CacheBust = Literal["field", "prompt", "off"]


@dataclass(frozen=True, slots=True)
class ServerProfile:
    """One kind of server.

    usage_option: it takes stream_options.include_usage. fixed_length: fields that make it generate exactly
    max_tokens ("$N" stands for that number). cache_salt_field: a request field that keys its prefix cache.
    cache_off_fields: fields that keep a request from using the prefix cache at all. cache_reset_path: POST empties it.
    native_path, native_whole_path: its own route for a stream, and without one; None where we speak none.
    extra_fields: sent with every request.
    """

    name: str
    health_path: str = "/health"
    metrics_path: str | None = "/metrics"
    usage_option: bool = True
    fixed_length: dict[str, Any] = field(default_factory=dict)
    cache_salt_field: str | None = None
    cache_off_fields: dict[str, Any] = field(default_factory=dict)
    cache_reset_path: str | None = None
    native_path: str | None = None
    native_whole_path: str | None = None
    extra_fields: dict[str, Any] = field(default_factory=dict)
    lists_its_model: bool = True


PROFILES: dict[str, ServerProfile] = {
    profile.name: profile
    for profile in (
        ServerProfile(
            "vllm",
            fixed_length={"ignore_eos": True, "min_tokens": "$N"},
            cache_salt_field="cache_salt",
            cache_reset_path="/reset_prefix_cache",
        ),
        ServerProfile(
            "tgi",
            native_path="/generate_stream",
            native_whole_path="/generate",
            lists_its_model=False,
        ),
        ServerProfile(
            "ollama",
            health_path="/",
            metrics_path=None,
            native_path="/api/chat",
            native_whole_path="/api/chat",
        ),
        ServerProfile(
            "llamacpp",
            fixed_length={"ignore_eos": True},
            cache_off_fields={"cache_prompt": False},
        ),
        # refuses unknown fields with 422, always reports usage
        ServerProfile("transformers", metrics_path=None, usage_option=False, lists_its_model=False),
        ServerProfile("openai", health_path="/v1/models", metrics_path=None, lists_its_model=False),
    )
}


@dataclass(frozen=True, slots=True)
class BodyPlan:
    """How a prompt becomes a request body for one server and one point.

    salt: makes prompts new to the server's prefix cache; where it goes is cache_bust. dropped: fields that the
    server refused in the preflight. limit_field: what the server calls the cap on output tokens. In extra_body a table
    goes into the table of that name, any other value takes the place of ours.
    """

    profile: ServerProfile
    model: str
    endpoint: Endpoint
    stream: bool
    fixed_length: bool
    max_output_tokens: int | None
    cache_bust: CacheBust
    salt: str
    extra_body: dict[str, Any] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    limit_field: LimitField = "max_tokens"

    def asked_output_tokens(self, prompt: Prompt) -> int | None:
        """The max_tokens sent with `prompt`: its own, capped by the sweep's; None if neither is given."""
        caps = [cap for cap in (prompt.max_output_tokens, self.max_output_tokens) if cap is not None]
        return min(caps) if caps else None

    def body(self, prompt: Prompt) -> dict[str, Any]:
        """The JSON body of `prompt`."""
        body = self._native(prompt) if self.endpoint == "native" else self._openai(prompt)
        if self.cache_bust == "field":
            if self.profile.cache_salt_field:
                body[self.profile.cache_salt_field] = self.salt
            body |= self.profile.cache_off_fields
        body |= self.profile.extra_fields
        for key in self.dropped:
            body.pop(key, None)
        for key, value in self.extra_body.items():
            ours = body.get(key)
            body[key] = ours | value if isinstance(ours, dict) and isinstance(value, dict) else value
        return body

    def _openai(self, prompt: Prompt) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self.model}
        if self.endpoint == "chat":
            body["messages"] = _messages(prompt, self._prompt_salt)
        else:
            body["prompt"] = _text(prompt, self._prompt_salt)
        limit = self.asked_output_tokens(prompt)
        if limit is not None:
            body[self.limit_field] = limit
            if self.fixed_length:
                body |= {key: limit if value == "$N" else value for key, value in self.profile.fixed_length.items()}
        body["stream"] = self.stream
        if self.stream and self.profile.usage_option:
            body["stream_options"] = {"include_usage": True}
        return body

    def _native(self, prompt: Prompt) -> dict[str, Any]:
        limit = self.asked_output_tokens(prompt)
        if self.profile.name == "tgi":
            # without details TGI says neither how many tokens there were nor why they ended
            parameters: dict[str, Any] = {"details": True, "do_sample": False}
            if limit is not None:
                parameters["max_new_tokens"] = limit
            return {"inputs": _text(prompt, self._prompt_salt), "parameters": parameters}
        body = {"model": self.model, "messages": _messages(prompt, self._prompt_salt), "stream": self.stream}
        return body if limit is None else body | {"options": {"num_predict": limit}}

    @property
    def _prompt_salt(self) -> str | None:
        return self.salt if self.cache_bust == "prompt" else None

    @property
    def path(self) -> str:
        """The endpoint's path below the base URL. native: only for a profile that has such a route."""
        match self.endpoint:
            case "chat":
                return "/v1/chat/completions"
            case "completions":
                return "/v1/completions"
            case "native":
                path = self.profile.native_path if self.stream else self.profile.native_whole_path
                assert path is not None, self.profile.name
                return path


def _messages(prompt: Prompt, salt: str | None) -> list[dict[str, str]]:
    messages = [dict(m) for m in prompt.messages or ({"role": "user", "content": prompt.prompt or ""},)]
    if salt:
        messages[0]["content"] = f"[{salt}] {messages[0]['content']}"
    return messages


def _text(prompt: Prompt, salt: str | None) -> str:
    text = prompt.prompt
    if text is None:
        text = "\n\n".join(f"{m['role']}: {m['content']}" for m in prompt.messages or ()) + "\n\nassistant:"
    return f"[{salt}] {text}" if salt else text


def http_request(path: str, host: str, body: dict[str, Any], *, api_key: str | None, stream: bool) -> bytes:
    """A complete HTTP/1.1 POST of `body` as JSON."""
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    head = [
        f"POST {path} HTTP/1.1",
        f"Host: {host}",
        "User-Agent: benchsuite",
        "Content-Type: application/json",
        f"Accept: {'text/event-stream' if stream else 'application/json'}",
        "Accept-Encoding: identity",
        "Connection: keep-alive",
        f"Content-Length: {len(content)}",
    ]
    if api_key:
        head.append(f"Authorization: Bearer {api_key}")
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + content
