"""httpx as it is commonly written: a client per user, `aiter_lines`, `json.loads` on every event, asyncio's own loop.

usage: python -m benchmarks.httpx_lines BASE_URL USERS REQUESTS_PER_USER TOKENS      prints one JSON object
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

import httpx
import numpy as np

gap_errors_ms: list[float] = []
ttft_errors_ms: list[float] = []


async def user(base_url: str, requests: int, tokens: int, go: asyncio.Event) -> None:
    """One warm-up request, then `requests` timed ones, one after the other."""
    async with httpx.AsyncClient(timeout=None, trust_env=False) as client:
        await request(client, base_url, 1)
        ready.append(1)
        await go.wait()
        for _ in range(requests):
            stamps, sent_ns = await request(client, base_url, tokens)
            note(stamps, sent_ns)


async def request(client: httpx.AsyncClient, base_url: str, tokens: int) -> tuple[list[tuple[int, int, int]], int]:
    """(our stamp, the server's stamp, its arrival stamp) of each chunk with a token, and when it was sent."""
    body: dict[str, Any] = {"model": "simulator", "max_tokens": tokens, "stream": True}
    body |= {"messages": [{"role": "user", "content": "How long is a token on its way?"}]}
    body |= {"stream_options": {"include_usage": True}}
    stamps = []
    sent_ns = time.monotonic_ns()
    async with client.stream("POST", f"{base_url}/v1/chat/completions", json=body) as response:
        async for line in response.aiter_lines():
            at_ns = time.monotonic_ns()
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            event = json.loads(line[6:])
            if event["choices"] and event["choices"][0]["delta"].get("content"):
                stamps.append((at_ns, int(event["system_fingerprint"]), int(event["id"].rsplit("-", 1)[1])))
    return stamps, sent_ns


def note(stamps: list[tuple[int, int, int]], sent_ns: int) -> None:
    """The errors of one response."""
    at, server, arrived = (np.array(column, dtype=np.int64) for column in zip(*stamps, strict=True))
    gap_errors_ms.extend((np.abs(np.diff(at) - np.diff(server)) / 1e6).tolist())
    ttft_errors_ms.append(((at[0] - sent_ns) - (server[0] - arrived[0])) / 1e6)


async def main(base_url: str, users: int, requests: int, tokens: int) -> None:
    """Run all users and print what it cost and how far off it was."""
    go = asyncio.Event()
    tasks = [asyncio.create_task(user(base_url, requests, tokens, go)) for _ in range(users)]
    while len(ready) < users:
        await asyncio.sleep(0.01)
    began = os.times()
    go.set()
    await asyncio.gather(*tasks)
    ended = os.times()
    cpu_s = ended.user + ended.system - began.user - began.system
    chunks = users * requests * tokens
    gaps = np.quantile(gap_errors_ms, [0.5, 0.99, 0.999, 1.0]).tolist()
    result = {"chunks": chunks, "cpu_us_per_chunk": cpu_s / chunks * 1e6}
    result |= dict(zip(("gap_p50_ms", "gap_p99_ms", "gap_p999_ms", "gap_max_ms"), gaps, strict=True))
    result |= {"ttft_p99_ms": float(np.quantile(np.abs(ttft_errors_ms), 0.99))}
    print(json.dumps(result))


ready: list[int] = []

if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *(int(word) for word in sys.argv[2:5])))
