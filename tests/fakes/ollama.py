"""Ollama as a real one (0.34.0, fb307609) was seen to speak: OpenAI's routes and its own, cold start, queue, errors."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fakes.http import Answer, Fake, Request, dumps

WORDS = ("Hello", "!", " How", " can", " I", " help", " you", "?")
BUSY = "server busy, please try again.  maximum pending requests exceeded"
FAILED = "an error was encountered while running the model: unexpected EOF"
NDJSON, JSON, PLAIN = "application/x-ndjson", "application/json; charset=utf-8", "application/json"
PROMPT_NS, TOKEN_NS = 5_000_000, 7_000_000
NATIVE, OPENAI = ("/api/chat", "/api/generate"), ("/v1/chat/completions", "/v1/completions")


class FakeOllama(Fake):
    """num_parallel, max_queue: as OLLAMA_NUM_PARALLEL and OLLAMA_MAX_QUEUE; the queue is that for a model that loads
    (`loading`: for ever), behind a loaded one any number waits. load_ns: what the first request pays.
    thinking: that many tokens before the answer. eos_at: the answer ends by itself. error_at: the runner fails there.
    Prompts beyond context_length are cut to half of it without a word, unless the native `truncate` is false.
    waited_ns: how long each request waited for its turn.
    """

    def __init__(self, *, model: str = "llama3.2:latest", num_parallel: int = 1, max_queue: int = 512,
                 context_length: int = 4096, load_ns: int = 2_000_000_000, token_s: float = 0.0, thinking: int = 0,
                 eos_at: int | None = None, error_at: int | None = None, loading: bool = False) -> None:  # fmt: skip
        super().__init__()
        self._model, self._num_parallel, self._max_queue = model, num_parallel, max_queue
        self._context, self._load_ns, self._token_s = context_length, load_ns, token_s
        self._thinking, self._eos_at, self._error_at = thinking, eos_at, error_at
        self._turn = asyncio.Semaphore(num_parallel)
        self._loading, self._pending, self.loaded = loading, 0, False
        self.waited_ns: list[int] = []

    async def handle(self, request: Request, answer: Answer) -> None:
        card = {"name": self._model, "model": self._model, "size": 2019393189}
        match request.method, request.path:
            case "GET" | "HEAD", "/":
                await answer.whole(200, "Ollama is running", "text/plain; charset=utf-8")
            case "GET", "/api/version":
                await answer.whole(200, {"version": "0.34.0"}, JSON)
            case "GET", "/api/tags":
                await answer.whole(200, {"models": [card]}, JSON)
            case "GET", "/api/ps":
                loaded = card | {"size_vram": 2019393189, "context_length": self._context}
                await answer.whole(200, {"models": [loaded] if self.loaded else []}, JSON)
            case "GET", "/v1/models":
                item = {"id": self._model, "object": "model", "created": 1, "owned_by": "library"}
                await answer.whole(200, {"object": "list", "data": [item]}, PLAIN)
            case "POST", path if path in NATIVE + OPENAI:
                await self._generate(request, answer)
            case _:
                await answer.whole(404, "404 page not found", "text/plain")

    async def _generate(self, request: Request, answer: Answer) -> None:
        body, native = request.json, request.path in NATIVE
        if not isinstance(body, dict):
            await self._error(answer, 400, "unexpected EOF", "invalid_request_error", native)
        elif body.get("model") not in (self._model, self._model.removesuffix(":latest")):
            await self._error(answer, 404, f"model '{body.get('model')}' not found", "not_found_error", native)
        elif self._loading and self._pending >= self._max_queue:
            await self._error(answer, 503, BUSY, "api_error", native)
        else:
            self._pending += 1
            came_ns, waits = time.monotonic_ns(), self._turn.locked()
            try:
                async with self._turn:
                    waited_ns = time.monotonic_ns() - came_ns if waits else 0
                    self.waited_ns.append(waited_ns)
                    load_ns, self.loaded = (0 if self.loaded else self._load_ns), True
                    await self._answer(request, answer, load_ns, waited_ns)
            finally:
                self._pending -= 1

    async def _answer(self, request: Request, answer: Answer, load_ns: int, waited_ns: int) -> None:
        body, native = request.json, request.path in NATIVE
        text = body.get("prompt") or " ".join(m["content"] for m in body.get("messages", ()))
        prompt_tokens = len(text.split())
        if prompt_tokens >= self._context and body.get("truncate", True):
            prompt_tokens = self._context - (self._context - 4) // 2
        elif prompt_tokens >= self._context:
            message = f"request ({prompt_tokens} tokens) exceeds the available context size ({self._context} tokens)"
            words = dumps({"error": {"code": 400, "message": message, "type": "exceed_context_size_error"}})
            await self._error(answer, 400, words, "invalid_request_error", native)
            return
        asked = (body.get("options") or {}).get("num_predict") if native else body.get("max_tokens")
        n = 20 if asked is None else asked
        eos = self._eos_at is not None and self._eos_at <= n
        n = self._eos_at if eos else n
        reason = "stop" if eos else "length"
        durations = {"total_duration": load_ns + waited_ns + PROMPT_NS + n * TOKEN_NS, "load_duration": load_ns,
                     "prompt_eval_count": prompt_tokens, "prompt_eval_duration": PROMPT_NS, "eval_count": n,
                     "eval_duration": n * TOKEN_NS}  # fmt: skip
        end = {"done": True, "done_reason": reason} | {key: value for key, value in durations.items() if value}
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": n, "total_tokens": prompt_tokens + n}
        if native:
            await self._native(request, answer, n, end)
        else:
            await self._openai(request, answer, n, reason, usage)

    def _word(self, i: int) -> tuple[str, bool]:
        """The i-th token, and whether it is still thought."""
        return WORDS[i % len(WORDS)], i < self._thinking

    async def _native(self, request: Request, answer: Answer, n: int, end: dict) -> None:
        chat, stream = request.path == "/api/chat", request.json.get("stream", True)
        head = {"model": request.json["model"], "created_at": "2026-11-21T09:00:00.000000Z"}
        if stream:
            answer.start(NDJSON)
        said, thought = "", ""
        for i in range(n):
            await asyncio.sleep(self._token_s)
            if i == self._error_at:
                if stream:
                    await answer.chunk(dumps({"error": FAILED}) + "\n")
                    await answer.end()
                else:
                    await self._error(answer, 500, FAILED, "api_error", True)
                return
            word, thinking = self._word(i)
            said, thought = (said, thought + word) if thinking else (said + word, thought)
            if stream:
                line = _said(chat, "", word) if thinking else _said(chat, word)
                await answer.chunk(dumps(head | line | {"done": False}) + "\n")
        if stream:
            await answer.chunk(dumps(head | _said(chat, "") | end) + "\n")
            await answer.end()
        else:
            await answer.whole(200, head | _said(chat, said, thought or None) | end, JSON)

    async def _openai(self, request: Request, answer: Answer, n: int, reason: str, usage: dict) -> None:
        body, chat = request.json, "chat" in request.path
        head = {"id": "chatcmpl-487" if chat else "cmpl-12", "created": 1795252073, "model": body["model"],
                "object": ("chat.completion.chunk" if chat else "text_completion"),
                "system_fingerprint": "fp_ollama"}  # fmt: skip
        if not body.get("stream"):
            said = "".join(self._word(i)[0] for i in range(self._thinking, n))
            part = {"message": {"role": "assistant", "content": said}} if chat else {"text": said}
            whole = head | {"choices": [{"index": 0, **part, "finish_reason": reason}], "usage": usage}
            await answer.whole(200, whole, PLAIN)
            return
        asked = (body.get("stream_options") or {}).get("include_usage")
        zeros = {"usage": dict.fromkeys(usage, 0)} if asked and not chat else {}
        answer.start("text/event-stream")

        async def event(choice: dict[str, Any] | None, more: dict[str, Any]) -> None:
            choices = [] if choice is None else [{"index": 0} | choice]
            await answer.chunk(f"data: {dumps(head | {'choices': choices} | more)}\n\n")

        for i in range(n):
            await asyncio.sleep(self._token_s)
            if i == self._error_at:  # swallowed: an empty delta of no model, then nothing
                await event(({"delta": {"content": ""}} if chat else {"text": ""}) | {"finish_reason": None},
                            zeros | {"model": ""})  # fmt: skip
                await answer.end()
                return
            word, thinking = self._word(i)
            role = {} if i else {"role": "assistant"}
            delta = {"content": "", "reasoning": word} if thinking else {"content": word}
            said = {"delta": role | delta} if chat else {"text": word}
            await event(said | {"finish_reason": None}, zeros)
        await event(({"delta": {}} if chat else {"text": ""}) | {"finish_reason": reason}, zeros)
        if asked:
            await event(None, {"usage": usage})
        await answer.chunk("data: [DONE]\n\n")
        await answer.end()

    async def _error(self, answer: Answer, status: int, message: str, kind: str, native: bool) -> None:
        whole = {"message": message, "type": kind, "param": None, "code": None}
        await answer.whole(status, {"error": message if native else whole}, JSON if native else PLAIN)


def _said(chat: bool, content: str, thinking: str | None = None) -> dict[str, Any]:
    more = {} if thinking is None else {"thinking": thinking}
    if chat:
        return {"message": {"role": "assistant", "content": content, **more}}
    return {"response": content, **more}
