"""A rule of thumb for the number of tokens of a text, for when no tokenizer is at hand.

Never a measurement: the server's own count (`usage`) is what metrics and costs are made of.
"""

from __future__ import annotations

import re

from benchsuite.workload.prompts import Prompt

CHARS_PER_TOKEN_CJK = 1.5
CHARS_PER_TOKEN_OTHER = 4.0
_CJK = re.compile("[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]+")


def token_weight(text: str) -> float:
    """The unrounded estimate: one token per 1.5 CJK characters (with their punctuation), one per 4 others. Additive."""
    other = len(_CJK.sub("", text))
    return (len(text) - other) / CHARS_PER_TOKEN_CJK + other / CHARS_PER_TOKEN_OTHER


def estimate_tokens(text: str) -> int:
    """About how many tokens the text has (`token_weight`, rounded)."""
    return round(token_weight(text))


def estimate_input_tokens(prompt: Prompt) -> int:
    """About how many input tokens the prompt has; the server's chat template is not counted."""
    if prompt.messages is None:
        return estimate_tokens(prompt.prompt or "")
    return round(sum(token_weight(message["content"]) for message in prompt.messages))
