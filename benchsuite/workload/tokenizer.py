"""A model's tokenizer: how many tokens a text has, and random texts of exactly so many.

Special tokens and the chat template are the server's, and are not counted. `input_files.read_tokenizer` opens one; a
measuring process never does. Pure, but for what the library does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Any

from benchsuite.errors import WorkloadError
from benchsuite.records import end_kind

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from benchsuite.workload.random_set import RandomStream

_BATCH_CHARS = 4_000_000  # a token being counted takes about 100 bytes
_MOST_WORDS = 4096
_FEWEST_WORDS = 16
_TRIES = 24


class TextTokenizer:
    """A tokenizer of the library `tokenizers`, by the name that the user gave it."""

    def __init__(self, name: str, tokenizer: Tokenizer) -> None:
        self.name, self._tokenizer = name, tokenizer
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.sha256 = hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
        self._words: list[str] = []

    def counts(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text."""
        counts: list[int] = []
        ends = zip(accumulate(map(len, texts)), texts, strict=True)
        for _, batch in groupby(ends, lambda end: end[0] // _BATCH_CHARS):
            encodings = self._tokenizer.encode_batch_fast([text for _, text in batch], add_special_tokens=False)
            counts += map(len, encodings)
        return counts

    def words(self) -> list[str]:
        """Words that are a token each wherever they stand in a text of such words, in the order of the vocabulary.

        Lower-case English words where the vocabulary has them; of one without any words, whatever it has.
        """
        if self._words:
            return self._words
        special = self._tokenizer.get_added_tokens_decoder()
        vocabulary = sorted(self._tokenizer.get_vocab(with_added_tokens=True).values())
        texts = [self._tokenizer.decode([i]).strip() for i in vocabulary if i not in special]
        texts = [text for text in dict.fromkeys(texts) if text.isprintable() and text and " " not in text]
        english = [text for text in texts if text.isascii() and text.isalpha() and text.islower() and len(text) > 2]
        for group in (english[: 4 * _MOST_WORDS], texts[: 4 * _MOST_WORDS]):
            counts = self.counts([" ".join([text] * 8) for text in group])
            words = [text for text, n in zip(group, counts, strict=True) if n == 8][:_MOST_WORDS]
            if len(words) >= _FEWEST_WORDS:
                break
        self._words = words or texts[:_MOST_WORDS]
        return self._words

    def texts(self, starts: Sequence[str], tokens: Sequence[int], streams: Sequence[RandomStream]) -> list[str]:
        """Random texts of exactly so many tokens behind its start each, as an encoding of the whole shows.

        Raises WorkloadError where no text is found: a tokenizer may have none with so many tokens.
        """
        words = self.words()
        if not words:
            raise WorkloadError("the tokenizer has no words for prompts", where="--tokenizer", given=self.name)
        before = dict(zip(dict.fromkeys(starts), self.counts(list(dict.fromkeys(starts))), strict=True))
        wanted = [before[start] + n for start, n in zip(starts, tokens, strict=True)]
        parts = [stream.rounds(words, n) for stream, n in zip(streams, tokens, strict=True)]
        texts = [_joined(start, part) for start, part in zip(starts, parts, strict=True)]
        pending = list(range(len(texts)))
        for attempt in range(_TRIES):
            counts = self.counts([texts[i] for i in pending])
            off = {i: n - wanted[i] for i, n in zip(pending, counts, strict=True) if n != wanted[i]}
            if not off:
                return texts
            for i, more in off.items():
                stream, part = streams[i], parts[i]
                if more > 0:  # a word behind another may be two tokens
                    del part[max(len(part) - more, 0 if starts[i] else 1) :]
                elif attempt % 3 == 2 and part:  # in one piece with the last word, where spaces are tokens too
                    part[-1] += stream.choice(words)
                else:
                    part += [stream.choice(words) for _ in range(-more)]
                if more and attempt % 3 == 1 and part:
                    part[-1] = stream.choice(words)
                texts[i] = _joined(starts[i], part)
            pending = list(off)
        raise WorkloadError(
            "no text with so many tokens is found",
            where="--tokenizer (workload.tokenizer)",
            given=f"{wanted[pending[0]]} tokens of {self.name}",
            expected="a length that random words of its vocabulary can have",
            hint="another length, or leave --tokenizer out: lengths are then calibrated by the server's usage",
        )

    def facts(self) -> dict[str, Any]:
        return {"by": "tokenizer", "tokenizer": self.name, "tokenizer_sha256": self.sha256}


def count_where_unknown(
    rows: dict[str, list[Any]], texts: Mapping[str, str], prompts: Mapping[str, str], tokenizer: TextTokenizer
) -> dict[str, Any]:
    """Fill in the token counts that the server did not give; how its own compare, for the manifest.

    rows: columns of RequestRecord, changed in place. texts: what was generated, by request_id. prompts: what was sent,
    by prompt_id. Stop tokens and what is in no text (tool calls) are not counted: where chunks are more, they stay.
    """
    counts = dict(zip(texts, tokenizer.counts(list(texts.values())), strict=True))
    ids, names = rows["request_id"], rows["prompt_id"]
    unknown = dict.fromkeys(name for name, n in zip(names, rows["input_tokens"], strict=True) if n is None)
    inputs = dict(zip(unknown, tokenizer.counts([prompts[name] for name in unknown]), strict=True))
    compared = {"responses": 0, "stopped": 0, "usage_output_tokens": 0, "tokenizer_output_tokens": 0}
    for i, request_id in enumerate(ids):
        if rows["input_tokens"][i] is None:
            rows["input_tokens"][i] = inputs[names[i]]
        n = counts.get(request_id)
        if rows["status"][i] != "ok" or n is None:
            continue
        if rows["token_source"][i] == "usage":
            compared["responses"] += 1
            compared["stopped"] += end_kind(rows["finish_reason"][i] or "") != "cap"
            compared["usage_output_tokens"] += rows["output_tokens"][i]
            compared["tokenizer_output_tokens"] += n
        elif n >= rows["n_chunks"][i]:
            rows["output_tokens"][i], rows["token_source"][i] = n, "tokenizer"
            if rows["reasoning_tokens"][i] and rows["n_chunks"][i]:  # its share of the chunks is one of the tokens
                rows["reasoning_tokens"][i] = round(rows["reasoning_tokens"][i] * n / rows["n_chunks"][i])
    return compared if compared["responses"] else {}


def _joined(start: str, words: Sequence[str]) -> str:
    return " ".join([start, *words] if start else words)
