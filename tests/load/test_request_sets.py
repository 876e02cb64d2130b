"""Request files of other tools end to end: what a server gets of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes.http import Answer, Fake, Request, dumps
from sweeps_for_tests import Watcher, spec_of

from benchsuite.errors import InputError
from benchsuite.load.launched_sweep import run_sweep

TOOL = {"type": "function", "function": {"name": "w", "parameters": {}}}
PARTS = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_url", "image_url": {"url": "data:image/png;base64,A"}},
]
BATCH = {"model": "other", "messages": [{"role": "user", "content": "Say 1"}], "max_tokens": 20, "temperature": 0.5,
         "tools": [TOOL], "stream": False, "n": 3}  # fmt: skip
FILES: dict[str, tuple[Any, dict[str, Any]]] = {
    "batch": ({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": BATCH},
              {"messages": BATCH["messages"], "max_tokens": 8, "temperature": 0.5, "tools": [TOOL]}),
    "sharegpt": ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello there"}]},
                 {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3, "temperature": 0.9}),
    "image": ({"messages": [{"role": "user", "content": PARTS}]},
              {"messages": [{"role": "user", "content": PARTS}], "max_tokens": 8, "temperature": 0.9}),
}  # fmt: skip


class Recorder(Fake):
    """Answers every chat completion with one token."""

    async def handle(self, request: Request, answer: Answer) -> None:
        if request.method != "POST":
            await answer.whole(404, {"error": "none"})
            return
        answer.start("text/event-stream")
        await answer.chunk(f"data: {dumps({'choices': [{'delta': {'content': 'a'}, 'finish_reason': 'stop'}]})}\n\n")
        usage = {"prompt_tokens": 3, "completion_tokens": 1}
        await answer.chunk(f"data: {dumps({'choices': [], 'usage': usage})}\n\ndata: [DONE]\n\n")
        await answer.end()


@pytest.mark.parametrize("name", FILES)
def test_what_is_sent(tmp_path: Path, name: str) -> None:
    """Model, stream and the cap are the sweep's; of all else the line has the last word; a skipped row is counted."""
    row, expected = FILES[name]
    file = tmp_path / "set.jsonl"
    file.write_text(f"{json.dumps(row)}\n7\n")
    watcher = Watcher()
    with Recorder() as server:
        workload = {"source": str(file), "skip_bad": 1, "requests": 2, "max_output_tokens": 8, "cache_bust": "off"}
        more = {"server": {"base_url": server.base_url, "model": "m", "profile": "openai"}}
        spec = spec_of(server.base_url, [1], workload=workload, sampling={"temperature": 0.9}, **more)
        result = run_sweep(spec, None, tmp_path / "run", watcher)

    assert result.complete
    wanted = {"model": "m", "stream": True, "stream_options": {"include_usage": True}, **expected}
    assert server.bodies("/v1/chat/completions")[-1] == wanted
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text("utf-8"))
    assert manifest["workload"]["skipped"] == 1
    assert any(note.startswith("skipped line 2") for note in watcher.notes)


def test_images_are_for_chat(tmp_path: Path) -> None:
    """A set with images is refused for text completions before anything is sent."""
    (tmp_path / "set.jsonl").write_text(json.dumps(FILES["image"][0]) + "\n")
    spec = spec_of(
        "http://127.0.0.1:9",
        [1],
        workload={"source": str(tmp_path / "set.jsonl")},
        server={"base_url": "http://127.0.0.1:9", "endpoint": "completions"},
    )

    with pytest.raises(InputError, match="needs the chat endpoint"):
        run_sweep(spec, None, tmp_path / "run", Watcher())
