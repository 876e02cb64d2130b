"""A request set of random words with requested lengths in tokens, and the seeded draws of all sets.

Only a tokenizer knows how many tokens a text has. With one the prompts are exact (`benchsuite.workload.tokenizer`);
without, words are counted at so many tokens each, as the server's own counts of two probes say (load.preflight), or
else by their characters. Pure: the same arguments give the same bytes on every machine.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from benchsuite.workload.dataset import CHARS_PER_TOKEN_OTHER, Prompt, PromptPlaces, Workload, make_workload

if TYPE_CHECKING:
    from benchsuite.request_spec import TokenLengths, WorkloadSpec
    from benchsuite.workload.tokenizer import TextTokenizer

T = TypeVar("T")
_NORMAL = NormalDist()
REQUESTS, _BLOCK = 1000, 1024
PLAUSIBLE = (0.2, 8.0)  # tokens per word
# of four or five letters, and a token each in the vocabulary of most models
_WORDS = """
area army baby back ball band bank base beat bill bird blue boat body bone book born boss call camp card care case
cell city club coal coat code cold cook copy cost crew crop dark data date deal deep desk door down draw dust duty
east edge fact fair fall farm fast fear feed feel file film fire fish flat flow food foot form four free fuel full
fund game gate gave gift girl glad goal gold good grow hair half hall hand hard head hear heat high hill hold home
hope hour idea iron item join jump keep kind king knew lack lady lake land lane last late lead left life lift line
list live load loan lock long look loss love luck mail main make mark mass meal meet menu mile milk mind moon move
name near neck news next nice note pack page pain pair park part past path plan play poor port post race rail rain
rank rate read rest rice rich ride ring rise road rock role room root rule safe sail sale salt sand seat seed self
ship shop show side sign size skin snow soft soil sold song soon sort star stay step stop suit team tell term test
text time town tree trip true turn type unit user vast view vote wage wait walk wall warm wash wave week west wide
wife wild wind wine wing wood word work yard year zone
"""
WORDS = tuple(_WORDS.split())


class RandomStream:
    """A stream of seeded draws: PCG64 seeded by SeedSequence([seed, *stream]).

    Only uniform numbers are taken from numpy, as its other draws may change between versions: the same seed must give
    the same bytes on every machine.
    """

    def __init__(self, seed: int, *stream: int) -> None:
        self._rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *stream])))
        self._block: list[float] = []

    def uniform(self) -> float:
        if not self._block:
            self._block = self._rng.random(4096).tolist()
        return self._block.pop()

    def integer(self, low: int, high: int) -> int:
        """A whole number in low..high, both included."""
        return low + int(self.uniform() * (high - low + 1))

    def choice(self, items: Sequence[T]) -> T:
        return items[int(self.uniform() * len(items))]

    def sample(self, items: Sequence[T], n: int) -> list[T]:
        """n different items (by place) in random order; all of them if there are fewer."""
        # in blocks, for each pop moves what lies behind it
        parts = [list(items[i : i + _BLOCK]) for i in range(0, len(items), _BLOCK)]
        leaves = 1 << (max(len(parts), 1) - 1).bit_length()
        left = [0] * leaves + [len(part) for part in parts] + [0] * (leaves - len(parts))  # a tree: below each node
        for node in range(leaves - 1, 0, -1):
            left[node] = left[2 * node] + left[2 * node + 1]
        drawn = []
        for i in range(min(n, len(items))):
            place, node = int(self.uniform() * (len(items) - i)), 1
            while node < leaves:
                left[node] -= 1
                node *= 2
                if place >= left[node]:
                    place, node = place - left[node], node + 1
            left[node] -= 1
            drawn.append(parts[node - leaves].pop(place))
        return drawn

    def stratified(self, n: int) -> list[float]:
        """n numbers in (0, 1), one in each of n equal strips, in random order: a sample of low variance."""
        edges = [(i + max(self.uniform(), 1e-9)) / n for i in range(n)]
        return self.sample(edges, n)

    def rounds(self, items: Sequence[T], n: int) -> list[T]:
        """n items: all of them in random order, again and again, so that each occurs about equally often."""
        draws = self._rng.random((-(-n // len(items)), len(items)))
        return [items[place] for place in np.argsort(draws, axis=1, kind="stable").ravel()[:n].tolist()]


def draw_lengths(lengths: TokenLengths, n: int, stream: RandomStream) -> array[int]:
    """n whole lengths in tokens, stratified: their histogram follows the distribution even for small n."""
    low, high = lengths.low, lengths.high
    if lengths.stdev:
        drawn = [round(lengths.mean + lengths.stdev * _NORMAL.inv_cdf(u)) for u in stream.stratified(n)]
    else:
        drawn = [low + int(u * (high - low + 1)) for u in stream.stratified(n)]
    return array("q", [min(max(length, low), high) for length in drawn])


@dataclass(frozen=True, slots=True)
class TokensPerWord:
    """How many tokens a word of WORDS has, on average. by: usage (the server counted), or characters (a rule of thumb).

    overhead_tokens: what the server adds to each prompt; None if not known.
    """

    value: float = sum(len(word) + 1 for word in WORDS) / len(WORDS) / CHARS_PER_TOKEN_OTHER
    by: str = "characters"
    overhead_tokens: int | None = None

    def texts(self, starts: Sequence[str], tokens: Sequence[float], streams: Sequence[RandomStream]) -> list[str]:
        """Random words of about so many tokens, behind its start each."""
        counts = [max(round(n / self.value), 1) for n in tokens]
        words = (" ".join(stream.rounds(WORDS, n)) for n, stream in zip(counts, streams, strict=True))
        return [f"{start} {text}" if start else text for start, text in zip(starts, words, strict=True)]

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> TokensPerWord:
        """From `facts` that a manifest keeps; by characters where they are of another kind."""
        value, overhead = facts.get("tokens_per_word"), facts.get("overhead_tokens")
        if facts.get("by") != "usage" or not isinstance(value, float) or not PLAUSIBLE[0] < value < PLAUSIBLE[1]:
            return cls()
        return cls(value, "usage", overhead if isinstance(overhead, int) else None)

    def facts(self) -> dict[str, Any]:
        return {"by": self.by, "tokens_per_word": self.value, "overhead_tokens": self.overhead_tokens}


def make_random(asked: WorkloadSpec, seed: int, ruler: TokensPerWord | TextTokenizer) -> Workload:
    """The set that `asked` describes. ruler: measures the length of a text.

    prefix_share of the prompts begin with the same prefix_tokens tokens, which are part of their length. A text depends
    on its place in the set and its length alone.
    """
    n = REQUESTS if asked.requests is None else asked.requests
    lengths, caps = (draw_lengths(one, n, RandomStream(seed, 10 + i)) for i, one in enumerate(asked.random_lengths))
    starts, first = [""] * n, asked.prefix_tokens or 0
    if first:
        (prefix,) = ruler.texts([""], [first], [RandomStream(seed, 13)])
        share = 1.0 if asked.prefix_share is None else asked.prefix_share
        for i in RandomStream(seed, 12).sample(range(n), round(share * n)):
            starts[i], lengths[i] = prefix, max(lengths[i], first + 1)

    def prompts() -> Iterator[Prompt]:
        for begin in range(0, n, _BLOCK):
            block = range(begin, min(begin + _BLOCK, n))
            rest = [lengths[i] - first * bool(starts[i]) for i in block]
            streams = [RandomStream(seed, 14, i) for i in block]
            for i, text in zip(block, ruler.texts(starts[begin : block.stop], rest, streams), strict=True):
                scenario = "prefix" if starts[i] else None
                yield Prompt(f"random-{i + 1:05d}", scenario, None, text, caps[i], input_tokens=lengths[i])

    return replace(make_workload(f"random-{n}", prompts()), lengths=ruler.facts())


def length_errors(
    counted: Iterable[tuple[Sequence[str], Sequence[int | None]]], places: PromptPlaces, overhead: int | None
) -> dict[str, int | float]:
    """The errors of a point's prompts: |counted - overhead - asked|, median and most, in tokens and against the asked.

    counted: ids, and the server's tokens of each, a part of the point at a time. overhead: what the server adds to each
    prompt; None: not known, and nor are they.
    """
    if overhead is None:
        return {}
    parts, ratio = [np.empty(0)], 0.0
    for ids, tokens in counted:
        asked = places.input_tokens[places.of(ids)]
        errors = np.abs(np.array(tokens, np.float64) - overhead - asked)
        ratio = np.fmax.reduce(errors / asked, initial=ratio)
        parts.append(errors[~np.isnan(errors)])
    if not len(all_errors := np.concatenate(parts)):
        return {}
    return {
        "overhead_tokens": overhead,
        "length_error_median_tokens": float(np.median(all_errors)),
        "length_error_max_tokens": int(all_errors.max()),
        "length_error_max_ratio": float(ratio),
    }


def lengths_text(lengths: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> str | None:
    """What the prompts' lengths rest on and how far they are off, of a manifest's facts; None where they have none.

    lengths: `facts` of the set, empty for a set that was read. points: `length_errors` of each.
    """
    keys = ("overhead_tokens", "length_error_median_tokens", "length_error_max_tokens", "length_error_max_ratio")
    found = [[v for key in keys if isinstance(v := point.get(key), int | float)] for point in points]
    overhead, medians, tokens, ratios = ([one[i] for one in found if len(one) == len(keys)] for i in range(4))
    text = {
        "tokenizer": f"exact by the tokenizer {lengths.get('tokenizer')}",
        "usage": f"{lengths.get('tokens_per_word')} tokens a word, by the server's count of two probes",
        "characters": "estimated from characters: nothing counts their tokens",
    }.get(str(lengths.get("by")), "as the file says" if tokens else None)
    if text is None or not tokens:
        return text
    more = f"{overhead[0]:g} more (template, salt)" if overhead[0] >= 0 else f"{-overhead[0]:g} fewer"
    return (
        f"{text}; the server counts {more}, to within {max(medians):g} tokens (median) "
        f"and {max(tokens):g} at most ({max(ratios):.1%} of a prompt)"
    )
