"""An answer as every scorer takes it: one form of Unicode, without the model's thinking. Pure."""

from __future__ import annotations

import re
import unicodedata

VERSION = 1  # raised whenever a rule below changes: every scorer reads what these leave

_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff]")
_NAMES = r"(?:think(?:ing)?|thoughts?|reasoning|seed:think)"
_OPENS = re.compile(rf"<{_NAMES}>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|channel\|>analysis<\|message\|>", re.I)
_CLOSES = re.compile(rf"</{_NAMES}>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<\|channel\|>final<\|message\|>", re.I)


def answer_of(text: str) -> tuple[str, str]:
    """The answer in NFKC, lines ended by \\n, without invisible characters and thinking; and "", or why it is empty.

    Thinking goes up to its last closing mark; one that never closes leaves nothing (`cut_thinking`), and so does an
    answer of nothing but spaces (`empty`).
    """
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).replace("\r\n", "\n").replace("\r", "\n")
    end = max((match.end() for match in _CLOSES.finditer(text)), default=0)
    if _OPENS.search(text, end):
        return "", "cut_thinking"
    answer = text[end:].strip()
    return answer, "" if answer else "empty"
