"""The servers under test, and the API that takes what they refuse."""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from benchsuite.strict_model import StrictModel

ProfileName = Literal["auto", "vllm", "tgi", "ollama", "llamacpp", "transformers", "openai"]
_SECRET = re.compile(
    r"(?i)(x[-_])?(api[-_]?key|authorization|(access|auth|bearer|secret)[-_]?(key|token)|password|secret)"
)
_HOST = re.compile(r"[\w.-]+:\d{1,5}(/v1)?/?", re.ASCII)


class FallbackSpec(StrictModel):
    """A paid API that takes what the own servers refuse.

    on: which refusals go there: HTTP 429 (and an overload told in a stream), 503, or a queue of the own server longer
    than max_waiting. Left out: 429 and 503, and the queue if max_waiting is given. usd_per_1m_*: its list prices, None
    if not known. extra_body: None sends the own server's.
    """

    base_url: str
    model: str
    api_key_env: str = "FALLBACK_API_KEY"
    api_key_file: str | None = None
    usd_per_1m_input: float | None = Field(default=None, ge=0)
    usd_per_1m_output: float | None = Field(default=None, ge=0)
    on: tuple[Literal["429", "503", "queue"], ...] = ("429", "503")
    max_waiting: int | None = Field(default=None, ge=0)
    extra_body: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _queue_where_limited(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("max_waiting") is not None and "on" not in value:
            return value | {"on": ("429", "503", "queue")}
        return value

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str) -> str:
        return _checked_url(value)

    @field_validator("api_key_env")
    @classmethod
    def _variable(cls, value: str) -> str:
        return _checked_variable(value)

    @field_validator("on", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        return tuple(str(word) for word in value) if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _whole(self) -> FallbackSpec:
        if not self.on:
            raise ValueError("on names nothing; expected some of 429, 503, queue")
        if ("queue" in self.on) != (self.max_waiting is not None):
            raise ValueError("the reason queue (--fallback-on) and max_waiting (--fallback-max-waiting) go together")
        if (self.usd_per_1m_input is None) != (self.usd_per_1m_output is None):
            raise ValueError("give both usd_per_1m_input and usd_per_1m_output, or neither")
        return self


class ServerSpec(StrictModel):
    """The server under test, or several of the same: base_url is the first, more_base_urls are the others.

    base_url may be given as a list of all of them. fallback: an API for what they refuse.
    """

    base_url: str
    more_base_urls: tuple[str, ...] = ()
    model: str | None = None
    profile: ProfileName = "auto"
    endpoint: Literal["chat", "completions", "native"] = "chat"
    stream: bool = True
    api_key_env: str = "OPENAI_API_KEY"
    api_key_file: str | None = None
    extra_body: dict[str, Any] = Field(default_factory=dict)
    insecure: bool = False
    fallback: FallbackSpec | None = None

    @model_validator(mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        urls = value.get("base_url") if isinstance(value, dict) else None
        if not isinstance(urls, list | tuple):
            return value
        if not urls:
            raise ValueError("base_url is an empty list; expected at least one URL")
        if value.get("more_base_urls"):
            raise ValueError("give all URLs in base_url, or the others in more_base_urls, not both")
        return value | {"base_url": urls[0], "more_base_urls": tuple(urls[1:])}

    @field_validator("base_url")
    @classmethod
    def _url(cls, value: str) -> str:
        return _checked_url(value)

    @field_validator("api_key_env")
    @classmethod
    def _variable(cls, value: str) -> str:
        return _checked_variable(value)

    @field_validator("more_base_urls")
    @classmethod
    def _urls(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_checked_url(url) for url in value)

    @model_validator(mode="after")
    def _no_secrets(self) -> ServerSpec:
        bodies = [self.extra_body, (self.fallback.extra_body if self.fallback else None) or {}]
        name = next((found for body in bodies if (found := _secret_in(body))), None)
        if name:
            raise ValueError(
                f"extra_body has {name!r}, which names a secret, and extra_body is written into the run folder; "
                "put the key into the environment (api_key_env) or a file (api_key_file)"
            )
        return self

    @model_validator(mode="after")
    def _each_once(self) -> ServerSpec:
        urls = [*self.base_urls, *([self.fallback.base_url] if self.fallback else [])]
        twice = [url for i, url in enumerate(urls) if url in urls[:i]]
        if twice:
            raise ValueError(f"{twice[0]} appears twice among the base URLs (base_url, more_base_urls, fallback)")
        return self

    @property
    def base_urls(self) -> tuple[str, ...]:
        """All own servers."""
        return (self.base_url, *self.more_base_urls)


def _secret_in(tree: Any, depth: int = 0) -> str | None:
    """The first key of plain data that names a secret."""
    if isinstance(tree, list) and depth < 20:
        return next((found for item in tree if (found := _secret_in(item, depth + 1))), None)
    if not isinstance(tree, dict) or depth >= 20:
        return None
    named = next((str(key) for key in tree if _SECRET.fullmatch(str(key))), None)
    return named or next((found for item in tree.values() if (found := _secret_in(item, depth + 1))), None)


def _checked_variable(value: str) -> str:
    """The name of an environment variable, or "" for none. A key put here would get into the run folder."""
    if not re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)?", value):
        raise ValueError("expected the name of the environment variable that holds the key, not the key itself")
    return value


def url_without_user(value: str) -> str:
    """A URL as it is. Raises ValueError if it carries a user or a password: URLs are written into the run folder."""
    try:
        parts = urlsplit(value)
    except ValueError as error:
        raise ValueError(f"expected a URL: {error}") from None
    if parts.username or parts.password:
        raise ValueError("this URL must carry no user or password: it is written into the run folder")
    return value


def _checked_url(value: str) -> str:
    form = "expected http://HOST[:PORT] or https://HOST[:PORT], with or without /v1"
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{form}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError(form + (f"; did you mean http://{value}?" if _HOST.fullmatch(value) else ""))
    if not value.isascii() or not value.isprintable() or " " in value or parts.query or parts.fragment:
        raise ValueError(form + "; without spaces, ? or #")
    if parts.username or parts.password:
        raise ValueError("a base URL carries no user or password; put an API key in the environment")
    return value.rstrip("/").removesuffix("/v1")
