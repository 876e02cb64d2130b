"""Text Generation Inference as its real router (db931fcf, 3.3.6-dev0) was seen to speak: dialects, errors, overload."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from fakes.http import Answer, Fake, Request, dumps

WORDS = ("Hello", "!", " How", " can", " I", " help", " you", "?")
MODEL = "meta-llama/Llama-3.1-8B-Instruct"
FINGERPRINT = "3.3.6-dev0-native"
FAILED = "Request failed during generation: Server error: Exception calling application: CUDA error: out of memory"
ROUTES = ("/generate", "/generate_stream", "/v1/chat/completions", "/v1/completions")


@dataclass(frozen=True)
class Refusal(Exception):
    """What the router refuses, and how it says so outside a stream."""

    status: int
    message: str
    kind: str


class FakeTgi(Fake):
    """max_concurrent: requests beyond it are refused at once. token_s: before each token. eos_at: the answer ends by
    itself with that token. error_at: generation fails there. keep_alive: a comment comes before the first token.
    old_axum: `data:` without a space. queue_ms: what the headers of a whole answer say.
    """

    def __init__(self, *, max_concurrent: int = 128, max_total_tokens: int = 4096, token_s: float = 0.0,
                 eos_at: int | None = None, error_at: int | None = None, keep_alive: bool = False,
                 old_axum: bool = False, queue_ms: int = 3) -> None:  # fmt: skip
        super().__init__()
        self._most, self._max_total, self._token_s = max_concurrent, max_total_tokens, token_s
        self._eos_at, self._error_at, self._keep_alive = eos_at, error_at, keep_alive
        self._data = "data:" if old_axum else "data: "
        self._queue_ms, self.running = queue_ms, 0

    async def handle(self, request: Request, answer: Answer) -> None:
        match request.method, request.path:
            case "GET", "/health" | "/" | "/ping":
                await answer.whole(200, "")
            case "GET", "/info":
                await answer.whole(200, {
                    "model_id": MODEL, "model_sha": None, "model_pipeline_tag": None,
                    "max_concurrent_requests": self._most, "max_best_of": 2,
                    "max_stop_sequences": 4, "max_input_tokens": self._max_total - 1,
                    "max_total_tokens": self._max_total, "validation_workers": 2, "max_client_batch_size": 4,
                    "router": "text-generation-router", "version": "3.3.6-dev0", "sha": None, "docker_label": None,
                })  # fmt: skip
            case "GET", "/v1/models":
                model = {"id": MODEL, "object": "model", "created": 0, "owned_by": MODEL}
                await answer.whole(200, {"object": "list", "data": [model]})
            case "GET", "/metrics":
                text = "# TYPE tgi_queue_size gauge\ntgi_queue_size 0\n\n# TYPE tgi_batch_current_size gauge\n"
                await answer.whole(200, f"{text}tgi_batch_current_size {self.running}\n\n", "text/plain; charset=utf-8")
            case "POST", path if path in ROUTES:
                await self._generate(request, answer)
            case _, path if path in ROUTES:
                await answer.whole(405, "")
            case _:
                await answer.whole(404, "")

    async def _generate(self, request: Request, answer: Answer) -> None:
        body, chat = request.json, "chat" in request.path
        needed = "messages" if chat else "prompt" if "completions" in request.path else "inputs"
        if body is None:
            await answer.whole(400, "Failed to parse the request body as JSON: EOF while parsing", "text/plain")
            return
        if needed not in body:
            words = f"Failed to deserialize the JSON body into the target type: missing field `{needed}` at line 1"
            await answer.whole(422, words, "text/plain; charset=utf-8")
            return
        native = needed == "inputs"
        stream = request.path == "/generate_stream" if native else body.get("stream", False)
        self.running += 1
        try:
            prompt_tokens, n = self._admit(body, needed)
            if stream:
                await (self._native_stream if native else self._openai_stream)(request, answer, prompt_tokens, n)
            else:
                await self._whole(request, answer, prompt_tokens, n)
        except Refusal as refusal:
            await self._refuse(answer, refusal, native, stream)
        finally:
            self.running -= 1

    def _admit(self, body: dict, needed: str) -> tuple[int, int]:
        if self.running > self._most:
            raise Refusal(429, "Model is overloaded", "overloaded")
        text = body[needed]
        text = " ".join(m["content"] for m in text) if isinstance(text, list) else text
        tokens = len(text.split())
        asked = (body.get("parameters") or body).get("max_new_tokens" if needed == "inputs" else "max_tokens")
        asked = self._max_total - tokens if asked is None else asked
        if tokens + asked > self._max_total:
            raise Refusal(422, f"Input validation error: `inputs` tokens + `max_new_tokens` must be <= "
                               f"{self._max_total}. Given: {tokens} `inputs` tokens and {asked} `max_new_tokens`",
                          "validation")  # fmt: skip
        return tokens, asked

    async def _refuse(self, answer: Answer, refusal: Refusal, native: bool, stream: bool) -> None:
        if not stream:
            await answer.whole(refusal.status, {"error": refusal.message, "error_type": refusal.kind})
            return
        self._start(answer)
        if native:
            await self._event(answer, {"error": refusal.message, "error_type": refusal.kind})
        else:
            await self._event(answer, {"error": {"message": refusal.message, "http_status_code": 422}})
            await answer.chunk(f"{self._data}[DONE]\n\n")
        await answer.end()

    def _end(self, n: int) -> tuple[int, bool]:
        """How many tokens come, and whether the last is the end-of-text token."""
        eos = self._eos_at is not None and self._eos_at <= n
        return (self._eos_at if eos else n), eos  # type: ignore[return-value]

    async def _native_stream(self, request: Request, answer: Answer, prompt_tokens: int, asked: int) -> None:
        n, eos = self._end(asked)
        details = request.json.get("parameters", {}).get("details", False)
        self._start(answer, "x-compute-type: gpu+optimized", f"x-compute-characters: {len(request.json['inputs'])}")
        said = ""
        for i in range(1, n + 1):
            await asyncio.sleep(self._token_s)
            if i == self._error_at:
                await self._event(answer, {"error": FAILED,
                                           "error_type": "generation"})  # fmt: skip
                break
            special, last = eos and i == n, i == n
            text = "<|eot_id|>" if special else WORDS[(i - 1) % len(WORDS)]
            said += "" if special else text
            end = {"finish_reason": "eos_token" if eos else "length", "generated_tokens": n, "seed": None,
                   "input_length": prompt_tokens}  # fmt: skip
            await self._event(answer, {
                "index": i, "token": {"id": 1000 + i, "text": text, "logprob": -0.25, "special": special},
                "generated_text": said if last else None, "details": end if last and details else None,
            })  # fmt: skip
        await answer.end()

    async def _openai_stream(self, request: Request, answer: Answer, prompt_tokens: int, asked: int) -> None:
        n, eos = self._end(asked)
        body, chat = request.json, "chat" in request.path
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": n, "total_tokens": prompt_tokens + n}
        self._start(answer)
        for i in range(1, n + 1):
            await asyncio.sleep(self._token_s)
            if i == self._error_at:
                message = FAILED
                await self._event(answer, {"error": {"message": message, "http_status_code": 422}})
                break
            special = "" if chat else "<|eot_id|>"  # the completions route sends the token's own text
            text = special if eos and i == n else WORDS[(i - 1) % len(WORDS)]
            await self._event(answer, _chunk(body, chat, text, i == n, eos, usage))
        else:
            if chat and (body.get("stream_options") or {}).get("include_usage"):
                await self._event(answer, _chat(body) | {"choices": [], "usage": usage})
        await answer.chunk(f"{self._data}[DONE]\n\n")
        await answer.end()

    async def _whole(self, request: Request, answer: Answer, prompt_tokens: int, asked: int) -> None:
        n, eos = self._end(asked)
        await asyncio.sleep(self._token_s * n)
        body = request.json
        said = "".join(WORDS[i % len(WORDS)] for i in range(n - eos))
        headers = (
            "x-compute-type: gpu+optimized", "x-compute-time: 1", "x-compute-characters: 5", "x-total-time: 60",
            "x-validation-time: 1", f"x-queue-time: {self._queue_ms}", "x-inference-time: 50", "x-time-per-token: 10",
            f"x-prompt-tokens: {prompt_tokens}", f"x-generated-tokens: {n}",
        )  # fmt: skip
        if request.path == "/generate":
            end = {"finish_reason": "eos_token" if eos else "length", "generated_tokens": n, "seed": None,
                   "prefill": [], "tokens": []}  # fmt: skip
            whole: dict[str, Any] = {"generated_text": said}
            if body.get("parameters", {}).get("details"):
                whole["details"] = end
        else:
            chat = "chat" in request.path
            usage = {"prompt_tokens": prompt_tokens, "completion_tokens": n, "total_tokens": prompt_tokens + n}
            reason = ("stop" if chat else "eos_token") if eos else "length"
            part = {"message": {"role": "assistant", "content": said}} if chat else {"text": said}
            whole = {"object": "chat.completion" if chat else "text_completion", "id": "", "created": 1767880000,
                     "model": MODEL, "system_fingerprint": FINGERPRINT,
                     "choices": [{"index": 0, **part, "logprobs": None, "finish_reason": reason}],
                     "usage": usage}  # fmt: skip
        await answer.whole(200, whole, "application/json", *headers)

    def _start(self, answer: Answer, *more: str) -> None:
        answer.start("text/event-stream", "cache-control: no-cache", "x-accel-buffering: no", *more)

    async def _event(self, answer: Answer, tree: dict) -> None:
        comment = ":\n\n" if self._keep_alive else ""
        self._keep_alive = False
        await answer.chunk(f"{comment}{self._data}{dumps(tree)}\n\n")


def _chat(body: dict) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "id": "", "created": 1767880000, "model": body.get("model") or MODEL,
            "system_fingerprint": FINGERPRINT}  # fmt: skip


def _chunk(body: dict, chat: bool, text: str, last: bool, eos: bool, usage: dict) -> dict[str, Any]:
    if chat:
        delta = {"role": "assistant", "content": text}
        reason = ("stop" if eos else "length") if last else None
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return _chat(body) | {"choices": [choice], "usage": None}
    reason = ("eos_token" if eos else "length") if last else ""
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}
    event = {"object": "text_completion", "id": "", "created": 1767880000, "choices": [choice],
             "model": body.get("model") or MODEL, "system_fingerprint": FINGERPRINT}  # fmt: skip
    return event | {"usage": usage} if last else event
