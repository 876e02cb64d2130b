"""A byte-level BPE tokenizer, trained on the spot from training_text.txt: no hub, no download.

The text is a list of common English words, common and clinical Chinese characters and words, and numbers. Whatever is
not in it still has a spelling: every byte is in the alphabet (a Chinese character that is missing costs 2 or 3 tokens).
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

from benchsuite.serving.extras import missing_extra

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PAD, BOS, EOS, IM_START, IM_END = SPECIAL_TOKENS = ("<|pad|>", "<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>")
SPECIAL_IDS = {token: index for index, token in enumerate(SPECIAL_TOKENS)}
SMALLEST_VOCAB = len(SPECIAL_TOKENS) + 256

_CHINESE_WEIGHT = 4

# Byte-level BPE writes a space as U+0120 and a newline as U+010A; printable ASCII stands for itself.
_READABLE = frozenset(chr(code) for code in range(0x21, 0x7F)) | {"\u0120", "\u010a"}


def training_text() -> str:
    """The text that the vocabulary is learnt from: words separated by single spaces, in lines."""
    return files("benchsuite.serving").joinpath("training_text.txt").read_text("utf-8")


def train_tokenizer(vocab_size: int) -> Tokenizer:
    """A tokenizer of at most `vocab_size` tokens: the specials (ids 0 to 4), the 256 bytes, then merges.

    Deterministic for one version of `tokenizers`: the trainer sorts its alphabet, counts are sums, and equal counts
    are broken by the pair's ids, so neither threads nor hash seeds decide anything. Raises EngineError without the
    package.
    """
    try:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    except ImportError as error:
        raise missing_extra("tokenizers", "making the tiny model") from error
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(_as_written(training_text()), trainer)
    return tokenizer


def readable_ids(tokenizer: Tokenizer) -> list[int]:
    """Ids, ascending, of the tokens that are whole readable ASCII: no special token, no piece of a UTF-8 character."""
    vocabulary = tokenizer.get_vocab()
    return sorted(
        index for token, index in vocabulary.items() if token not in SPECIAL_TOKENS and _READABLE.issuperset(token)
    )


def _as_written(text: str) -> list[str]:
    """English words follow a space, Chinese ones do not; weighted, so that Chinese characters get their merges first.

    A missing English merge costs one token a word, a missing Chinese one two tokens a character.
    """
    words = text.split()
    english = "".join(f" {word}" for word in words if word.isascii())
    return [english, *(word for word in words if not word.isascii() for _ in range(_CHINESE_WEIGHT))]
