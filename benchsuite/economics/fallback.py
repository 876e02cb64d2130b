"""What a fallback to a paid API costs: its bill at list prices beside the own machine's hours. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchsuite.analysis.endpoints import Balance, EndpointPart
from benchsuite.economics.cost import SECONDS_PER_HOUR


@dataclass(frozen=True, slots=True)
class FallbackUse:
    """A level's fallback, over all repeats.

    request_share, token_share: the API's part of the requests sent, of the output tokens. tries, skips: requests that
    went there after a refusal, and untried because of the queue; None if not told. api_usd: its bill, None if its
    prices or its tokens are not known. own_usd: the own machine's hours. usd_per_1m_output_tokens: both together over
    all output tokens; own_usd_per_1m_output_tokens: the own hours over the own tokens.
    """

    concurrency: int
    requests: int
    api_requests: int
    api_failures: int
    request_share: float | None
    token_share: float | None
    tries: int | None
    skips: int | None
    api_input_tokens: int | None
    api_output_tokens: int | None
    api_usd: float | None
    own_usd: float | None
    usd_per_1m_output_tokens: float | None
    own_usd_per_1m_output_tokens: float | None


def fallback_use(
    level: Balance,
    *,
    usd_per_1m: tuple[float, float] | None,
    usd_per_hour_total: float | None,
    duration_s: float | None,
    tries: int | None = None,
    skips: int | None = None,
) -> FallbackUse:
    """The level's fallback and its cost.

    usd_per_1m: list price of input and output tokens, None if not known; cached input is billed as input. Failed
    requests are not billed. duration_s: of all repeats together, for which the own machine is paid, whoever answers.
    """
    own, api = level.of("own"), level.of("fallback")
    requests = sum(part.requests for part in level.parts)
    api_requests = sum(part.requests for part in api)
    own_tokens, api_tokens = _tokens(own), _tokens(api)
    tokens = None if own_tokens is None or api_tokens is None else own_tokens + api_tokens
    api_usd = _bill(api, usd_per_1m)
    own_usd = (
        None if usd_per_hour_total is None or duration_s is None else usd_per_hour_total * duration_s / SECONDS_PER_HOUR
    )
    both_usd = None if api_usd is None or own_usd is None else api_usd + own_usd
    return FallbackUse(
        concurrency=level.concurrency,
        requests=requests,
        api_requests=api_requests,
        api_failures=sum(part.failures for part in api),
        request_share=api_requests / requests if requests else None,
        token_share=api_tokens / tokens if tokens and api_tokens is not None else None,
        tries=tries,
        skips=skips,
        api_input_tokens=_sum([part.input_tokens for part in api if part.requests > part.failures]),
        api_output_tokens=api_tokens,
        api_usd=api_usd,
        own_usd=own_usd,
        usd_per_1m_output_tokens=_per_1m(both_usd, tokens),
        own_usd_per_1m_output_tokens=_per_1m(own_usd, own_tokens),
    )


def hours_with_bills(
    usd_per_hour_total: float | Mapping[int, float] | None,
    used: Sequence[FallbackUse],
    duration_s: Mapping[int, float | None],
) -> dict[int, float] | None:
    """The whole machine's hour by level with the API's bill spread over it, so that hour times time is the whole cost.

    duration_s: of all repeats together. None where a level's own price, bill or time is not known: a cost that leaves
    out the API would make the level that sends most of its requests there the cheapest.
    """
    hours = {}
    for use in used:
        level, time_s = use.concurrency, duration_s.get(use.concurrency)
        own = usd_per_hour_total.get(level) if isinstance(usd_per_hour_total, Mapping) else usd_per_hour_total
        if own is None or use.api_usd is None or not time_s:
            return None
        hours[level] = own + use.api_usd / time_s * SECONDS_PER_HOUR
    return hours


def _bill(api: Sequence[EndpointPart], usd_per_1m: tuple[float, float] | None) -> float | None:
    answered = [part for part in api if part.requests > part.failures]
    if not answered:
        return 0.0
    if usd_per_1m is None or any(part.tokens_unknown for part in answered):
        return None
    return sum(
        (part.input_tokens or 0) * usd_per_1m[0] / 1e6 + (part.output_tokens or 0) * usd_per_1m[1] / 1e6
        for part in answered
    )


def _tokens(parts: Sequence[EndpointPart]) -> int | None:
    """Output tokens; 0 where nothing was answered, None where an answer's are not known."""
    return _sum([part.output_tokens for part in parts if part.requests > part.failures])


def _sum(known: Sequence[int | None]) -> int | None:
    return None if any(value is None for value in known) else sum(value or 0 for value in known)


def _per_1m(usd: float | None, tokens: int | None) -> float | None:
    return usd / tokens * 1e6 if usd is not None and tokens else None
