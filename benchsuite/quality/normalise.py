"""An answer as every scorer takes it: one form of Unicode, without the model's thinking. Pure."""

from __future__ import annotations

import re
import unicodedata

VERSION = 1  # raised whenever a rule below changes: every scorer reads what these leave

_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff]")
_NAMES = r"(?:think(?:ing)?|thoughts?|reasoning|seed:think)"
_OPENS = re.compile(rf"<{_NAMES}>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|channel\|>analysis<\|message\|>", re.I)
_CLOSES = re.compile(rf"</{_NAMES}>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<\|channel\|>final<\|message\|>", re.I)
_REFUSALS = re.compile(
    r"\bas an? (?:ai|(?:large )?language model|artificial intelligence|virtual assistant)\b"
    r"|\bI(?: am|'m) (?:sorry|afraid|unable to|not able to)\b|\bI apologi[sz]e\b|\bmy apologies\b"
    r"|\b(?:I|we) (?:can ?not|can't|won't|will not|must decline to|decline to|(?:am|are) not "
    r"(?:able|allowed|qualified) to) (?:\w+ )?(?:answer|provide|give|offer|help|assist|comply|make|determine|diagnose"
    r"|recommend|choose|select|fulfill|advise)"
    r"|(?:无法|不能|不便|没法|没有办法|不可以|拒绝)(?:为您|为你|直接|对此|就此|给您|向您|给出?){0,2}"
    r"(?:回答|作答|提供|给出|诊断|判断|选择|建议|医疗|协助|满足)"
    r"|(?:作为|身为|我是)(?:一[个款名])?(?:AI|人工智能|语言模型|大语言模型|大模型)|很?抱歉,|对不起,",
    re.I,
)


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


def refuses(answer: str) -> bool:
    """True if the answer says that it will not or cannot answer. To be asked only where nothing was read in it."""
    return _REFUSALS.search(answer) is not None
