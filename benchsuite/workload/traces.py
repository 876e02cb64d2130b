"""Traces: lengths and times of requests without their texts, which are made of random words. Pure.

Formats are as their owners publish them: Mooncake (kvcache-ai/Mooncake, FAST25-release), Alibaba's of the same keys
(alibaba-edu/qwen-bailian-usagetraces-anon), Azure (Azure/AzurePublicDataset, 2023 and 2024), BurstGPT (HPMLL/BurstGPT),
and Vidur's (microsoft/vidur).
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchsuite.workload.random_set import WORDS, RandomStream, TokensPerWord

if TYPE_CHECKING:
    from benchsuite.workload.tokenizer import TextTokenizer

_DATE = re.compile(r"((?:19[789]|2[01]\d)\d-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d{1,9})?)(?:Z|\+00:00)?")
_LONGEST = 10_000_000  # tokens
_LATEST_S = 9e9  # nanoseconds are 64-bit integers
_BLOCKS = 16_384  # texts of blocks that are kept, as later requests begin with them
_GOLDEN = (5**0.5 - 1) / 2


class LeftOut(Exception):
    """Why a row of a trace is no request to send."""


class Trace(NamedTuple):
    """The columns of a kind of traces. unit_s: seconds of its unit of time; None: dates. block: tokens of a block of
    its hash_ids."""

    time: str
    input_tokens: str
    output_tokens: str
    unit_s: float | None = 1.0
    block: int = 512

    def has(self, row: dict[str, Any]) -> bool:
        """True for a row with its lengths; a time may be missing."""
        return {self.input_tokens, self.output_tokens} <= row.keys()

    def read(self, row: dict[str, Any], _: object = None) -> dict[str, Any]:
        """Its lengths, hash ids and time in ns, taken out of the row. Raises ValueError."""
        lengths = [number(row.pop(name), name) for name in (self.input_tokens, self.output_tokens)]
        if any(length % 1 or length > _LONGEST for length in lengths):
            names = f"{self.input_tokens}, {self.output_tokens}"
            raise ValueError(f"{names}: expected whole numbers up to {_LONGEST:,} (given {lengths})")
        hash_ids, time = row.pop("hash_ids", None) or [], row.pop(self.time, None)
        if not isinstance(hash_ids, list) or not all(type(one) is int and 0 <= one < 2**64 for one in hash_ids):
            raise ValueError(f"hash_ids: expected a list of whole numbers (given {hash_ids!r:.40})")
        row.pop("session_id", None)  # of several requests
        values = {"input_tokens": int(lengths[0]), "max_output_tokens": int(lengths[1]), "hash_ids": hash_ids}
        return values | {"at_ns": None if time is None else self._ns(time), "block": self.block}

    def _ns(self, time: Any) -> int:
        if self.unit_s is not None:
            return round(number(time, self.time, _LATEST_S / self.unit_s) * self.unit_s * 1e9)
        if date := _DATE.fullmatch(str(time).strip()):
            with contextlib.suppress(ValueError):  # there is no such day
                return int(np.datetime64(date[1], "ns").astype(np.int64))
        raise ValueError(f"{self.time}: expected YYYY-MM-DD HH:MM:SS.FFFFFFF in UTC (given {time!r:.40})")


MOONCAKE = Trace("timestamp", "input_length", "output_length", unit_s=1e-3)
_BAILIAN = Trace("timestamp", "input_length", "output_length", block=16)
AZURE = Trace("timestamp", "contexttokens", "generatedtokens", unit_s=None)
BURSTGPT = Trace("timestamp", "request_tokens", "response_tokens")
VIDUR = Trace("arrived_at", "num_prefill_tokens", "num_decode_tokens")
COLUMNS = {name for one in (MOONCAKE, AZURE, BURSTGPT, VIDUR) for name in (one.input_tokens, one.output_tokens)}


def read_mooncake(row: dict[str, Any], _: object = None) -> dict[str, Any]:
    """Mooncake's row, or one of Alibaba's, which have a chat_id, seconds and blocks of 16 tokens."""
    return (MOONCAKE if row.pop("chat_id", None) is None else _BAILIAN).read(row)


def number(value: Any, key: str, most: float = _LATEST_S) -> float:
    """A number of 0 to most, or the text of one. Raises ValueError naming the key."""
    try:
        found = math.nan if isinstance(value, bool) else float(value) + 0.0
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not 0 <= found <= most:
        raise ValueError(f"{key}: expected a number of 0 or more, up to {most:g} (given {value!r:.40})")
    return found


class TraceTexts:
    """Requests of the rows of a trace: random texts of its lengths, the same for the same seed.

    find_ruler: gives what knows the length of a text; called for the first. block: tokens of a block of hash_ids; None:
    as the trace's kind has it.
    """

    def __init__(
        self,
        seed: int = 0,
        find_ruler: Callable[[], TokensPerWord | TextTokenizer] = TokensPerWord,
        block: int | None = None,
    ) -> None:
        self._seed, self._find_ruler, self._block = seed, find_ruler, block
        self._began_ns: int | None = None  # when the first row was sent
        self._block_text = lru_cache(_BLOCKS)(self._text_of_block)
        self.made = self.tokens = 0

    @cached_property
    def ruler(self) -> TokensPerWord | TextTokenizer:
        return self._find_ruler()

    def fill(self, values: dict[str, Any], row: int) -> None:
        """What `Trace.read` gave becomes prompt and at_s, which counts from the first row's time.

        Raises ValueError for a time before it, and LeftOut for a request without input or output.
        """
        hash_ids, at_ns, block = (values.pop(key) for key in ("hash_ids", "at_ns", "block"))
        if at_ns is not None:
            self._began_ns = at_ns if self._began_ns is None else self._began_ns
            values["at_s"] = (at_ns - self._began_ns) / 1e9
            if at_ns < self._began_ns:
                raise ValueError(f"sent {-values['at_s']:g} s before the first row; expected the earliest row first")
        for key, what in (("max_output_tokens", "output, which failed,"), ("input_tokens", "input")):
            if not values[key]:
                raise LeftOut(f"requests of the trace without {what} are left out")
        values["prompt"] = self._text(row, values["input_tokens"], hash_ids, self._block or block)
        self.made, self.tokens = self.made + 1, self.tokens + values["input_tokens"]

    def _text(self, row: int, tokens: int, hash_ids: Sequence[int], block: int) -> str:
        """Of the row's own words, or block after block; equal ids of blocks of as many tokens are equal texts."""
        if not hash_ids:
            return self.ruler.texts([""], [tokens], [RandomStream(self._seed, 14, row)])[0]
        if len(hash_ids) != (n := -(-tokens // block)):
            raise ValueError(
                f"hash_ids: expected {n:,}, as {tokens:,} tokens are so many blocks of {block} (given "
                f"{len(hash_ids):,}); --block names another size"
            )
        texts = [self._block_text(one, block) for one in hash_ids[:-1]]
        return " ".join([*texts, self._block_text(hash_ids[-1], tokens - (n - 1) * block)])

    def _text_of_block(self, hash_id: int, tokens: float) -> str:
        start = WORDS[0]  # counted behind a word, as in the middle of a text
        if isinstance(self.ruler, TokensPerWord):  # the part of a word that is over evens out from id to id
            tokens += (hash_id * _GOLDEN % 1 - 0.5) * self.ruler.value
        texts = self.ruler.texts([start], [tokens], [RandomStream(self._seed, 16, hash_id)])  # type: ignore[list-item]
        return texts[0][len(start) + 1 :]
