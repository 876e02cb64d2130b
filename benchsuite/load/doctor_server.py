"""The check-up of the servers: reached, tried with a sweep's own requests, held against what the sweep will ask."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import httpx

from benchsuite.clock import now_ns
from benchsuite.errors import BenchsuiteError
from benchsuite.load.beside import open_servers
from benchsuite.load.preflight import Preflight, api_key, control_client, preflight
from benchsuite.spec import SweepSpec
from benchsuite.telemetry.findings import Finding, judged
from benchsuite.telemetry.server import ServerSampler
from benchsuite.workload.dataset import Prompt

_TOKENS = 8
_TRIES = 5
_FAR_S = 0.005
_DAY_S = 86400


def server_findings(spec: SweepSpec) -> Iterator[Finding]:
    """Each server's door, then what the preflight of a sweep finds, then their metrics."""
    reached = True
    for url in spec.server.base_urls:
        for found in door(url, spec.timeouts.connect_s, insecure=spec.server.insecure):
            reached &= found.verdict != "fail"
            yield found
    if not reached:
        return
    message = {"role": "user", "content": "How long is a token on its way?"}
    # the length is asked for exactly, so that it is seen whether the server keeps it
    asked = spec.model_copy(update={"workload": spec.workload.model_copy(update={"fixed_length": True})})
    try:
        with control_client(asked) as control:
            found_out = preflight(asked, control, (Prompt("doctor", None, (message,), None, _TOKENS),))
            yield from answers(found_out)
            yield from pace(control, found_out.closes_after_response)
        for sampler in open_servers(spec, list(spec.server.base_urls), api_key(spec), now_ns()):
            try:
                yield metrics(sampler, found_out.profile.name, has_page=found_out.profile.metrics_path is not None)
            finally:
                sampler.close()
    except BenchsuiteError as error:
        given = "" if error.given is None else f": {error.given}"
        yield Finding("server", "requests", "fail", f"{error.what}{given}", error.hint or error.expected)


def door(base_url: str, timeout_s: float, *, insecure: bool) -> Iterator[Finding]:
    """Whether a connection can be made, how long that takes, and its TLS."""
    parts = urlsplit(base_url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        took_s = [_connect_s(host, port, timeout_s) for _ in range(_TRIES)]
    except OSError as error:
        remedy = "start the server, or check --base-url; `benchsuite serve llamacpp` starts one to try"
        yield Finding("server", "reachable", "fail", f"{base_url}: {error}", remedy)
        return
    far = median(took_s) > _FAR_S
    found = f"{base_url}: a connection takes {1000 * median(took_s):.2f} ms (median of {_TRIES})"
    yield judged("server", "reachable", found, (far, "warn", "the way there is part of every TTFT: measure near it"))
    if parts.scheme == "https":
        yield _tls(host, port, timeout_s, insecure=insecure)


def _connect_s(host: str, port: int, timeout_s: float) -> float:
    begun_s = time.perf_counter()
    with socket.create_connection((host, port), timeout_s):
        return time.perf_counter() - begun_s


def _tls(host: str, port: int, timeout_s: float, *, insecure: bool) -> Finding:
    context = ssl.create_default_context()
    try:
        with (
            socket.create_connection((host, port), timeout_s) as sock,
            context.wrap_socket(sock, server_hostname=host) as wrapped,
        ):
            version, certificate = wrapped.version(), wrapped.getpeercert() or {}
    except (OSError, ssl.SSLError) as error:
        why = getattr(error, "verify_message", "") or str(error)
        if insecure:
            return Finding("server", "TLS", "warn", f"{why}; not verified (--insecure)", "only where you trust the way")
        return Finding("server", "TLS", "fail", why, "put its authority into SSL_CERT_FILE, or --insecure")
    left_s = ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time() if "notAfter" in certificate else None
    days = "" if left_s is None else f", certificate for {left_s / _DAY_S:.0f} more days"
    soon = left_s is not None and left_s < 14 * _DAY_S
    return judged("server", "TLS", f"{version}{days}", (soon, "warn", "renew the certificate"))


def answers(found: Preflight) -> Iterator[Finding]:
    """What the preflight's requests showed, in the order in which a sweep needs it."""
    facts = found.facts
    version = (facts.get("server") or {}).get("version")
    yield Finding("server", "kind", "ok", found.profile.name + (f" {version}" if version else ""))
    listed = facts["models_listed"]
    yield Finding("server", "model", "ok", found.model + ("" if listed is None else f", of {len(listed)} listed"))
    yield _streams(facts)
    yield judged(
        "server", "usage", "tells token counts" if facts["reports_usage"] else "tells no token counts",
        (not facts["reports_usage"], "warn", "a server that sends `usage`; else tokens are estimated from chunks"),
    )  # fmt: skip
    yield _length(facts)
    if facts["fields_refused"]:
        yield Finding(
            "server", "fields", "ok", f"left out, since it refuses them: {', '.join(facts['fields_refused'])}"
        )
    yield judged(
        "server", "time stamps", f"by the {'kernel' if facts['stamp_source'] == 'kernel' else 'process'}",
        (facts["stamp_source"] != "kernel", "warn", "see `kernel stamps` above; over TLS the process stamps"),
    )  # fmt: skip
    yield _cache(found)
    yield from _capacity(facts["capacity"])


def _streams(facts: dict[str, Any]) -> Finding:
    remedy = "switch streaming on in the server or a proxy that gathers (nginx: proxy_buffering off), or --no-stream"
    return judged(
        "server", "stream", "streams tokens" if facts["streams"] else "one answer, no stream: no TTFT, no TPOT",
        (not facts["streams"], "warn", remedy),
    )  # fmt: skip


def _length(facts: dict[str, Any]) -> Finding:
    got, asked = facts["got_output_tokens"], facts["asked_output_tokens"]
    kept = got is not None and got == asked
    found = f"{asked} tokens asked for, {'unknown' if got is None else got} came ({facts['finish_reason']})"
    remedy = "--fixed-length will not hold here, so runs may differ in their tokens: repeat them, compare per token"
    return judged("server", "length", found, (not kept, "warn", remedy))


def _cache(found: Preflight) -> Finding:
    profile, bust = found.profile, found.plan.cache_bust
    if bust == "off":
        return Finding("server", "prefix cache", "warn", "left on (--cache-bust off)", "only where reuse is wanted")
    way = (
        f"the field {profile.cache_salt_field or ', '.join(profile.cache_off_fields)}"
        if bust == "field"
        else "a salt at the start of every prompt"
    )
    emptied = f"; POST {profile.cache_reset_path} before each point" if profile.cache_reset_path else ""
    return Finding("server", "prefix cache", "ok", f"kept out by {way}{emptied}")


def _capacity(capacity: dict[str, Any]) -> Iterator[Finding]:
    told = {
        "concurrent_requests": "requests at a time",
        "context_tokens": "tokens of context",
        "input_tokens": "tokens of prompt",
    }
    words = [f"{capacity[key]} {what}" for key, what in told.items() if capacity.get(key) is not None]
    if words or not capacity["warnings"]:
        yield Finding("server", "capacity", "ok", ", ".join(words) or "not told")
    for sentence in capacity["warnings"]:
        what, _, remedy = sentence.partition("; ")
        yield Finding("server", "capacity", "warn", what, remedy or "lower levels, or a larger server")


def pace(control: httpx.Client, closes: bool) -> Iterator[Finding]:
    """How long a small answer takes, and whether connections are kept. closes: the preflight saw that they are not."""
    took_s = []
    try:
        for _ in range(_TRIES + 1):
            begun_s = time.perf_counter()
            answer = control.get("/v1/models")
            took_s.append(time.perf_counter() - begun_s)
    except httpx.HTTPError:
        return
    closes |= answer.headers.get("connection", "").lower() == "close"
    yield judged(
        "server", "keep-alive",
        "a new connection for each request: it closes after each response" if closes else "kept",
        (closes, "warn", "switch keep-alive on, in the server or the proxy before it"),
    )  # fmt: skip
    typical_s = median(took_s[1:])
    found = f"{1000 * typical_s:.1f} ms for GET /v1/models (median of {_TRIES})"
    yield judged("server", "round trip", found, (typical_s > 0.1, "warn", "the server or the way to it is busy"))


def metrics(sampler: ServerSampler, profile: str, *, has_page: bool) -> Finding:
    """What the server's own page tells, and what it does just now."""
    row, facts = sampler.sample()[0], sampler.facts()
    if facts["family"] is None:
        remedy = {"llamacpp": "start it with --metrics", "ollama": None}.get(profile, "--metrics-url, if elsewhere")
        found = (row.error or "none") if has_page else f"{profile} has none"
        return Finding("server", "metrics", "warn" if has_page else "ok", found, remedy if has_page else None)
    lacks = f", without {', '.join(facts['missing'])}" if facts["missing"] else ""
    busy = f"; {row.running:.0f} running, {row.waiting or 0:.0f} waiting" if row.running else ""
    found = f"{facts['url']}: {len(facts['figures'])} figures by {facts['family']}'s names{lacks}{busy}"
    return judged("server", "metrics", found, (bool(row.running), "warn", "others use the server: measure it alone"))
