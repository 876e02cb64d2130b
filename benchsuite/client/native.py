"""What servers say in words of their own, taken into the same facts: TGI's and Ollama's native routes, llama.cpp's
`timings`. Pure.

Sources: docs/METHODS.md, Servers. Usage is written as OpenAI's, so that a row is made from one form.
"""

from __future__ import annotations

from typing import Any

from benchsuite.client.facts import StreamFacts
from benchsuite.client.reading import clean_text, count, seconds

_NS, _MS = 1e9, 1e3


def note_native(facts: StreamFacts, event: dict[str, Any], *, keep_text: bool) -> int:
    """Take an event without `choices`: 2 for an answer token, 1 for a reasoning token, 0 for no token."""
    if "done" in event:
        return _ollama(facts, event, keep_text)
    if "token" in event or "generated_text" in event:
        return _tgi(facts, event, keep_text)
    return 0


def note_timings(facts: StreamFacts, timings: Any) -> None:
    """llama.cpp's `timings`, last one wins: prompt and generation times; the tokens that its cache spared."""
    if not isinstance(timings, dict):
        return
    facts.prefill_s = seconds(timings.get("prompt_ms"), _MS)
    facts.decode_s = seconds(timings.get("predicted_ms"), _MS)
    facts.cached_tokens = count(timings.get("cache_n"))


def _ollama(facts: StreamFacts, event: dict[str, Any], keep_text: bool) -> int:
    """A line of /api/chat or /api/generate; the last one has `done` true, the counts, and durations in ns."""
    said = event.get("message")
    if not isinstance(said, dict):
        said = {"content": event.get("response"), "thinking": event.get("thinking")}
    if event["done"] is True:
        reason = event.get("done_reason")
        # older releases end without a reason
        _end(facts, reason, event.get("prompt_eval_count"), event.get("eval_count"))
        facts.done = True
        _ollama_durations(facts, event)
    content = said.get("content")
    if content and keep_text and isinstance(content, str):
        facts.text.append(content)
    if content or said.get("tool_calls"):
        return 2
    return 1 if said.get("thinking") else 0


def _ollama_durations(facts: StreamFacts, event: dict[str, Any]) -> None:
    """total counts from the request's arrival, so what is neither loading, prompt nor generation is waiting."""
    total_s = seconds(event.get("total_duration"), _NS)
    facts.prefill_s = seconds(event.get("prompt_eval_duration"), _NS)
    facts.decode_s = seconds(event.get("eval_duration"), _NS)
    if total_s is None or facts.prefill_s is None or facts.decode_s is None:
        return
    load_s = seconds(event.get("load_duration"), _NS) or 0.0  # left out when 0
    # rounded to the nanoseconds that it is made of
    facts.queue_s = max(0.0, round(total_s - load_s - facts.prefill_s - facts.decode_s, 9))


def _tgi(facts: StreamFacts, event: dict[str, Any], keep_text: bool) -> int:
    """An event of /generate_stream, or the whole answer of /generate. A special token (end of text) is no answer."""
    token, whole, details = event.get("token"), event.get("generated_text"), event.get("details")
    if isinstance(details, dict):
        _end(facts, details.get("finish_reason"), details.get("input_length"), details.get("generated_tokens"))
    elif isinstance(whole, str):
        _end(facts, None, None, None)
    text = whole
    if isinstance(token, dict):
        text = "" if token.get("special") is True else token.get("text")
    if not text or not isinstance(text, str):
        return 0
    if keep_text:
        facts.text.append(text)
    return 2


def _end(facts: StreamFacts, reason: Any, prompt_tokens: Any, completion_tokens: Any) -> None:
    """A server that ends without saying why has ended all the same: the reason is then `done`."""
    facts.finish_reason = clean_text(reason) if isinstance(reason, str) and reason else "done"
    if count(prompt_tokens) is not None or count(completion_tokens) is not None:
        facts.usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
