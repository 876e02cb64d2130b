"""A prompt becomes a request body, and that the bytes of an HTTP request. Pure.

What differs between servers is data in `servers`; a preflight (load/preflight.py) finds out what one really does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from benchsuite.client.http import Endpoint
from benchsuite.client.request import EncodedRequest
from benchsuite.servers.base import Native, Server
from benchsuite.workload.dataset import Prompt

CacheBust = Literal["field", "prompt", "off"]


@dataclass(frozen=True, slots=True)
class BodyPlan:
    """How a prompt becomes a request body for one server and one point.

    salt: makes prompts new to the server's prefix cache; where it goes is cache_bust. dropped: fields that the
    server refused in the preflight. limit_field: what the server calls the cap on output tokens. In extra_body a table
    goes into the table of that name, any other value takes the place of ours.
    """

    profile: Server
    model: str
    endpoint: Literal["chat", "completions", "native"]
    stream: bool
    fixed_length: bool
    max_output_tokens: int | None
    cache_bust: CacheBust
    salt: str
    extra_body: dict[str, Any] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"

    def asked_output_tokens(self, prompt: Prompt) -> int | None:
        """The max_tokens sent with `prompt`: its own, capped by the sweep's; None if neither is given."""
        caps = [cap for cap in (prompt.max_output_tokens, self.max_output_tokens) if cap is not None]
        return min(caps) if caps else None

    def body(self, prompt: Prompt) -> dict[str, Any]:
        """The JSON body of `prompt`."""
        limit = self.asked_output_tokens(prompt)
        salt = self.salt if self.cache_bust == "prompt" else None
        if self.endpoint == "native":
            values = {"$MODEL": self.model, "$STREAM": self.stream, "$N": limit}
            values |= {"$MESSAGES": _messages(prompt, salt), "$TEXT": _text(prompt, salt)}
            body = _filled(self._native.body, values)
        else:
            chat = self.endpoint == "chat"
            body = {"model": self.model, "stream": self.stream}
            body |= {"messages": _messages(prompt, salt)} if chat else {"prompt": _text(prompt, salt)}
            if limit is not None:
                body[self.limit_field] = limit
                body |= _filled(self.profile.fixed_length, {"$N": limit}) if self.fixed_length else {}
            if self.stream and self.profile.usage_option:
                body["stream_options"] = {"include_usage": True}
        if self.cache_bust == "field":
            if self.profile.cache_salt_field:
                body[self.profile.cache_salt_field] = self.salt
            body |= self.profile.cache_off_fields
        for key in self.dropped:
            body.pop(key, None)
        for key, value in self.extra_body.items():
            ours = body.get(key)
            body[key] = ours | value if isinstance(ours, dict) and isinstance(value, dict) else value
        return body

    @property
    def _native(self) -> Native:
        assert self.profile.native is not None, self.profile.name
        return self.profile.native

    @property
    def path(self) -> str:
        """The endpoint's path below the base URL. native: only for a profile that has such a route."""
        if self.endpoint == "native":
            return self._native.stream_path if self.stream else self._native.whole_path
        return "/v1/chat/completions" if self.endpoint == "chat" else "/v1/completions"


def _filled(template: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The template with its placeholders' values; a field without a value, and a table without fields, goes."""
    body = {
        key: _filled(value, values) if isinstance(value, Mapping) else values.get(str(value), value)
        for key, value in template.items()
    }
    return {key: value for key, value in body.items() if value is not None and value != {}}


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


def encode(prompt: Prompt, plan: BodyPlan, endpoint: Endpoint) -> EncodedRequest:
    """The request of `prompt` as bytes on the wire."""
    wire = http_request(endpoint, plan.body(prompt), stream=plan.stream)
    return EncodedRequest(wire, prompt.prompt_id, prompt.scenario, plan.asked_output_tokens(prompt))


def http_request(endpoint: Endpoint, body: dict[str, Any], *, stream: bool) -> bytes:
    """A complete HTTP/1.1 POST of `body` as JSON."""
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    head = [
        f"POST {endpoint.path} HTTP/1.1",
        f"Host: {endpoint.host_header}",
        "User-Agent: benchsuite",
        "Content-Type: application/json",
        f"Accept: {'text/event-stream' if stream else 'application/json'}",
        "Accept-Encoding: identity",
        "Connection: keep-alive",
        f"Content-Length: {len(content)}",
    ]
    if endpoint.api_key:
        head.append(f"Authorization: Bearer {endpoint.api_key}")
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + content
