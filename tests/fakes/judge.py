"""A judge on loopback that knows which answers are right, and errs only where it is told to."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from fakes.http import Answer, Fake, Request


def told(request: Request) -> dict[str, str]:
    """What the judge was given between marks: question, reference, rubric, answer; or first and second."""
    text = request.json["messages"][-1]["content"]
    mark = re.match(r"<([0-9a-f]{16}) question>\n", text)[1]
    return dict(re.findall(rf"<{mark} (\w+)>\n(.*?)\n</{mark} \1>", text, re.DOTALL))


class FakeJudge(Fake):
    """verdict: of what it was told, a whole number, "first", "second" or "tie"; or any text, which is the message; or
    a pair of an HTTP status and headers."""

    def __init__(self, verdict: Callable[[dict[str, str]], Any]) -> None:
        super().__init__()
        self._verdict = verdict

    @property
    def told(self) -> list[dict[str, str]]:
        return [told(request) for request in self.asked]

    async def handle(self, request: Request, answer: Answer) -> None:
        said = self._verdict(told(request))
        if isinstance(said, tuple):
            status, *headers = said
            return await answer.whole(
                status, {"error": {"message": "no verdict for you"}}, "application/json", *headers
            )
        if isinstance(said, int):
            said = json.dumps({"score": said, "reason": "as I was told"})
        elif said in ("first", "second", "tie"):
            said = json.dumps({"better": said, "reason": "as I was told"})
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        await answer.whole(200, {"choices": [{"message": {"content": said}}], "usage": usage})
        return None
