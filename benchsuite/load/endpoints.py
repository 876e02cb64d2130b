"""Where requests go: the servers under test, and the API that takes what they refuse. Values that cross processes."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchsuite.client.exchange import Exchange
from benchsuite.client.request import Prepared
from benchsuite.client.servers import BodyPlan, http_request
from benchsuite.client.wire import Target
from benchsuite.foreign import remember_key
from benchsuite.workload.dataset import Prompt

_SHORT_BYTES = 2048  # an error is shorter than this; a longer stream is not searched for one


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the requests go. insecure: the TLS certificate is not checked."""

    family: int
    address: tuple[Any, ...]
    host: str
    host_header: str
    path: str
    tls: bool
    base_url: str
    insecure: bool = False
    api_key: str | None = field(default=None, repr=False)
    kernel_stamps: bool = True

    def target(self) -> Target:
        """The connection target, with a TLS context made here (it cannot cross processes)."""
        remember_key(self.api_key)  # in the process that will store what the server says
        context = None
        if self.tls:
            context = ssl.create_default_context()
            if self.insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
        return Target(self.family, self.address, self.host, context, self.kernel_stamps)


@dataclass(frozen=True, slots=True)
class Fallback:
    """An API that takes what the own servers refuse.

    plan: how a prompt becomes its request. statuses: the HTTP answers that are refusals. max_waiting: requests that may
    wait at an own server before new ones go to the API untried; None does not look at the queue.
    """

    endpoint: Endpoint
    plan: BodyPlan
    statuses: frozenset[int]
    max_waiting: int | None = None
    closes_after_response: bool = False

    def refuses(self) -> Callable[[Exchange], bool]:
        """A function that knows an own server's refusal when it sees one.

        Text Generation Inference tells of its overload inside a stream with status 200: that is its 429.
        """
        statuses, in_streams = self.statuses, 429 in self.statuses

        def refused(exchange: Exchange) -> bool:
            if exchange.error is not None and exchange.error.status in ("timeout", "cancelled", "connect_error"):
                return False
            if exchange.status in statuses:
                return True
            if not in_streams or exchange.status != 200 or len(exchange.data) > _SHORT_BYTES:
                return False
            return b"overloaded" in exchange.data and b'"error"' in exchange.data

        return refused


def prepare(order: Sequence[int], prompts: Sequence[Prompt], plan: BodyPlan, endpoint: Endpoint) -> list[Prepared]:
    """The requests of `order` as bytes on the wire."""
    prepared: dict[int, Prepared] = {}
    for i in set(order):
        prompt = prompts[i]
        wire = http_request(
            endpoint.path, endpoint.host_header, plan.body(prompt), api_key=endpoint.api_key, stream=plan.stream
        )
        prepared[i] = Prepared(wire, prompt.prompt_id, prompt.scenario, plan.asked_output_tokens(prompt))
    return [prepared[i] for i in order]
