"""What a request set looks like: lengths, caps and languages per scenario."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from benchsuite.workload.prompts import Prompt, Workload
from benchsuite.workload.tokens import estimate_input_tokens

LANGUAGE_TAGS = ("zh", "en")


@dataclass(frozen=True, slots=True)
class LengthStats:
    """Lengths in tokens: mean and observed percentiles (inverse of the empirical CDF). None when n is 0."""

    n: int
    mean: float | None
    p50: int | None
    p95: int | None
    max: int | None


@dataclass(frozen=True, slots=True)
class ScenarioStats:
    """One scenario, or the whole set (`total`).

    scenario: None for requests that name none. share: of the set's requests, ratio. input_tokens: estimated from the
    text (`tokens.py`). max_output_tokens: of the requests that have one. language_share: ratio per language tag.
    histogram: (bins,) counts of input_tokens between the edges that were asked for.
    """

    scenario: str | None
    total: bool
    n: int
    share: float
    input_tokens: LengthStats
    max_output_tokens: LengthStats
    language_share: dict[str, float]
    histogram: tuple[int, ...]


def describe(workload: Workload, *, bins: int = 16) -> list[ScenarioStats]:
    """Statistics per scenario, in the order in which scenarios first appear, then of the whole set.

    All histograms share `bins` bins, equal in the logarithm, from the shortest to the longest prompt of the set.
    """
    groups: dict[str | None, list[Prompt]] = defaultdict(list)
    for prompt in workload.prompts:
        groups[prompt.scenario].append(prompt)
    inputs = [estimate_input_tokens(prompt) for prompt in workload.prompts]
    edges = np.geomspace(max(min(inputs, default=1), 1), max(max(inputs, default=1), 2), bins + 1)
    size = len(workload.prompts)
    rows = [_stats(name, prompts, size, edges, total=False) for name, prompts in groups.items()]
    return [*rows, _stats(None, workload.prompts, size, edges, total=True)]


def _stats(
    name: str | None,
    prompts: Sequence[Prompt],
    size: int,
    edges: np.ndarray[tuple[int], np.dtype[np.float64]],
    *,
    total: bool,
) -> ScenarioStats:
    inputs = [estimate_input_tokens(prompt) for prompt in prompts]
    bin_of = np.searchsorted(edges[1:-1], inputs, side="right")
    return ScenarioStats(
        scenario=name,
        total=total,
        n=len(prompts),
        share=len(prompts) / size,
        input_tokens=_lengths(inputs),
        max_output_tokens=_lengths(p.max_output_tokens for p in prompts if p.max_output_tokens is not None),
        language_share={tag: sum(tag in p.tags for p in prompts) / len(prompts) for tag in LANGUAGE_TAGS},
        histogram=tuple(int(count) for count in np.bincount(bin_of, minlength=len(edges) - 1)),
    )


def _lengths(values: Iterable[int]) -> LengthStats:
    tokens = np.array(list(values), dtype=np.int64)
    if not len(tokens):
        return LengthStats(0, None, None, None, None)
    p50, p95 = np.quantile(tokens, [0.5, 0.95], method="inverted_cdf")
    return LengthStats(len(tokens), float(tokens.mean()), int(p50), int(p95), int(tokens.max()))
