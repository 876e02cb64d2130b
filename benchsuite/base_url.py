"""A server's base URL: what it may be, and where the server's own routes and the API's lie below it."""

from __future__ import annotations

import re
from typing import Annotated, Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator

from benchsuite.request_spec import names_secret
from benchsuite.servers import SERVERS

_HOST = re.compile(r"[\w.-]+:\d{1,5}(/[\w./-]*)?", re.ASCII)
# the end of a base URL's path that is the API's version, or stands for one: nothing but the route comes after it
_VERSION = re.compile(
    r"((/v\d+(\.\d+)?((alpha|beta)\d*)?)?/open(ai|api)|/v\d+(\.\d+)?((alpha|beta)\d*)?|(/openai)?/deployments/[^/]+)$"
)
_ROUTES = {"/chat/completions": "chat", "/completions": "completions"} | {
    path: "native" for kind in SERVERS.values() if (api := kind.native) for path in (api.stream_path, api.whole_path)
}


def _url_without_user(value: str) -> str:
    try:
        parts = urlsplit(value)
    except ValueError as error:
        raise ValueError(f"expected a URL: {error}") from None
    if parts.username or parts.password:
        raise ValueError("a URL may not contain a user or password: it is written into the run folder")
    return value


def route_of(value: Any) -> tuple[str, str]:
    """The route that a base URL ends with, and the endpoint that it is; empty if it names none."""
    path = value.partition("?")[0].rstrip("/") if isinstance(value, str) else ""
    return next(((route, endpoint) for route, endpoint in _ROUTES.items() if path.endswith(route)), ("", ""))


def plain_base_url(value: str) -> str:
    """The URL below which the API's version lies. Raises ValueError, with what was expected."""
    form = "expected http://HOST[:PORT] or https://HOST[:PORT], with or without /v1"
    parts = urlsplit(_url_without_user(value))
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{form}: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError(form + (f"; did you mean http://{value}?" if _HOST.fullmatch(value) else ""))
    if not value.isascii() or not value.isprintable() or " " in value or parts.fragment:
        raise ValueError(form + "; without spaces or #")
    secret = next((name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if names_secret(name)), None)
    if secret:
        raise ValueError(
            f"{secret!r} names a secret, and a URL is written into the run folder: --query {secret}=env:VARIABLE"
        )
    path = parts.path.rstrip("/")
    route, endpoint = route_of(value)
    below = path.removesuffix(route)
    if endpoint == "native" or _VERSION.search(below):
        path = below
    if not _VERSION.search(path.removesuffix("/v1")):  # .../openai/v1 stays: /openai alone would be its version
        path = path.removesuffix("/v1")
    return f"{parts.scheme}://{parts.netloc}{path}" + (f"?{parts.query}" if parts.query else "")


class ApiAddress(NamedTuple):
    """What a base URL leads to. The server's own routes are below root, the API's below root and version."""

    root: str
    version: str  # "/v1", "/v4", "/v1beta/openai"; "" where the URL names its route in full
    query: str  # "?api-version=...", or ""

    def url(self, route: str) -> str:
        """The address of a route of the API, such as /models."""
        return f"{self.root}{self.version}{route}{self.query}"


def api_address(base_url: str) -> ApiAddress:
    """What a `BaseUrl` leads to."""
    parts, version = urlsplit(base_url), "/v1"
    path = parts.path
    if route := route_of(path)[0]:
        path, version = path.removesuffix(route), ""
    elif ends := _VERSION.search(path):
        path, version = path[: ends.start()], ends.group()
    return ApiAddress(f"{parts.scheme}://{parts.netloc}{path}", version, parts.query and f"?{parts.query}")


BaseUrl = Annotated[str, AfterValidator(plain_base_url)]
MetricsUrl = Annotated[str, AfterValidator(_url_without_user)]
