"""Quality, speed and money of three real models on one machine: trained here, served by llama.cpp, measured, joined.

    python -m benchmarks.tiny_models train      0.05, 0.2 and 0.5 million parameters: 20 minutes of one core in all
    python -m benchmarks.tiny_models measure    a sweep of each with the exam, scores, frontier: a few minutes

All is left in build/tiny-models/. Training needs `pip install jax` (the CPU's) besides the extra `engine`, and so does
the check of the engine's answers. The exam is of our own making: six scenarios of graded difficulty with options A to
D, whose right letter is computed. The 300 items of the test are never trained on. All models learn from the same items
in the same order, with fixed seeds; they differ in width and depth only. An answer names the value before the letter,
so that a model may compute the one and then look for the other.
"""

from __future__ import annotations

import json
import math
import random
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow.parquet import read_table

from benchsuite.serving.tiny_model import SPECIAL_IDS, SPECIAL_TOKENS, TinyModelSpec, Weights, write_model

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "tiny-models"
CONTEXT, VOCABULARY = 256, 352
SIZES = {"vocab_size": VOCABULARY, "context_tokens": CONTEXT}
MODELS = {
    "tiny-0.05M": TinyModelSpec(hidden_size=32, layers=2, heads=2, kv_heads=2, intermediate_size=96, **SIZES),
    "tiny-0.2M": TinyModelSpec(hidden_size=64, layers=3, heads=4, kv_heads=4, intermediate_size=192, **SIZES),
    "tiny-0.5M": TinyModelSpec(hidden_size=96, layers=4, heads=6, kv_heads=6, intermediate_size=288, **SIZES),
}
ITEMS_A_SCENARIO, EXAM_SEED, TRAINING_SEED = 50, 2026, 1
STEPS, BATCH, RATE, WARMUP = 5000, 24, 2e-3, 100
LONGEST_S = 2400  # of one training: more only where other work takes the cores
LABELS = "ABCD"
SCENARIOS = ("find", "largest", "second", "count", "add", "chain")


def item(scenario: str, draw: random.Random) -> tuple[str, list[int], int]:
    """A question, the values of its four options, and the right one."""
    if scenario in ("find", "largest", "second"):
        values = draw.sample(range(10, 100), 4)
        if scenario == "find":
            right = draw.choice(values)
            return f"Which option is {right}?", values, right
        if scenario == "largest":
            return "Which is the largest?", values, max(values)
        return "Which is the second smallest?", values, sorted(values)[1]
    if scenario == "count":
        letter, *others = draw.sample("abcde", 3)
        row = [draw.choice((letter, *others)) for _ in range(draw.randint(6, 9))]
        right = row.count(letter)
        question, offsets = f"How many {letter} are in {' '.join(row)}?", (-2, -1, 1, 2, 3)
    else:
        x, y = draw.randint(10, 89), draw.randint(10, 89)
        right, question = x + y, f"What is {x} + {y}?"
        if scenario == "chain":
            z = draw.randint(1, 9)
            right, question = right - z, f"What is {x} + {y} - {z}?"
        offsets = (-20, -10, -9, -2, -1, 1, 2, 9, 10, 20)
    values = [right, *draw.sample([right + d for d in offsets if right + d >= 0], 3)]
    draw.shuffle(values)
    return question, values, right


def row(scenario: str, draw: random.Random) -> dict[str, Any]:
    """One item as a line of a request set, with the answer that is trained."""
    question, values, right = item(scenario, draw)
    options = "\n".join(f"{label}) {value}" for label, value in zip(LABELS, values, strict=True))
    letter = LABELS[values.index(right)]
    return {
        "scenario": scenario,
        "messages": [{"role": "user", "content": f"{question}\n{options}"}],
        "reference": letter,
        "answer": f"{right}. Answer: {letter}",
    }


def exam() -> list[dict[str, Any]]:
    """The 300 items of the test, no two alike."""
    draw, rows = random.Random(EXAM_SEED), {}
    for scenario in SCENARIOS:
        before = len(rows)
        while len(rows) < before + ITEMS_A_SCENARIO:
            one = row(scenario, draw)
            rows[one["messages"][0]["content"]] = one | {"id": f"{scenario}-{len(rows) - before:02d}"}
    return list(rows.values())


def training_rows() -> Iterator[dict[str, Any]]:
    """Items without end; none has a text, or a sum, or a row of letters, of the exam."""
    texts = {one["messages"][0]["content"] for one in exam()}
    questions = {text.partition("\n")[0] for text in texts if text.startswith(("What", "How many"))}
    draw = random.Random(TRAINING_SEED)
    while True:
        one = row(draw.choice(SCENARIOS), draw)
        text = one["messages"][0]["content"]
        if text not in texts and text.partition("\n")[0] not in questions:
            yield one


def tokenizer() -> Any:
    """Byte-level BPE of the exam's words. It has seen no digits, so that each stays a token of its own."""
    import tokenizers as lib

    made = lib.Tokenizer(lib.models.BPE())
    made.pre_tokenizer = lib.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    made.decoder = lib.decoders.ByteLevel()
    trainer = lib.trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        show_progress=False,
        initial_alphabet=sorted(lib.pre_tokenizers.ByteLevel.alphabet()),
    )
    texts = [f"user\n{one['messages'][0]['content']}\nassistant\n{one['answer']}" for one in exam()]
    made.train_from_iterator([text.translate({ord(d): None for d in "0123456789"}) for text in texts], trainer)
    return made


def conversation(one: dict[str, Any]) -> tuple[str, str]:
    """What the chat template makes of an item, and what is to follow."""
    content = one["messages"][0]["content"]
    head = f"<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n"
    return head, f"{one['answer']}<|im_end|>"


def batches(words: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Token ids (BATCH, length) and which of them are the answer's."""
    rows, length = training_rows(), 0
    while True:
        pairs = [conversation(next(rows)) for _ in range(BATCH)]
        heads = [encoded.ids for encoded in words.encode_batch([head for head, _ in pairs])]
        tails = [encoded.ids for encoded in words.encode_batch([tail for _, tail in pairs])]
        # one length for all, so that one program is compiled
        length = max(length, -(-max(len(h) + len(t) for h, t in zip(heads, tails, strict=True)) // 8) * 8)
        ids, of_answer = np.zeros((BATCH, length), np.int32), np.zeros((BATCH, length), np.float32)
        for i, (head, tail) in enumerate(zip(heads, tails, strict=True)):
            ids[i, : len(head) + len(tail)] = head + tail
            of_answer[i, len(head) : len(head) + len(tail)] = 1
        yield ids, of_answer


def initial_weights(spec: TinyModelSpec) -> Weights:
    """Normal with a standard deviation of 0.02 (less where a block writes to the stream), norms of 1."""
    draw = np.random.default_rng(spec.seed)
    hidden, inner = spec.hidden_size, spec.intermediate_size
    less = 1 / math.sqrt(2 * spec.layers)

    def normal(rows: int, columns: int, factor: float = 1.0) -> np.ndarray:
        return (factor / math.sqrt(columns) * draw.standard_normal((rows, columns))).astype(np.float32)

    ones = np.ones(hidden, np.float32)
    weights = {
        "model.embed_tokens.weight": (0.5 * draw.standard_normal((spec.vocab_size, hidden))).astype(np.float32),
        "model.norm.weight": ones,
        "lm_head.weight": normal(spec.vocab_size, hidden, 0.1),
    }
    for i in range(spec.layers):
        layer = {f"self_attn.{name}_proj": normal(hidden, hidden) for name in "qkv"} | {
            "self_attn.o_proj": normal(hidden, hidden, less),
            "mlp.gate_proj": normal(inner, hidden),
            "mlp.up_proj": normal(inner, hidden),
            "mlp.down_proj": normal(hidden, inner, less),
            "input_layernorm": ones,
            "post_attention_layernorm": ones,
        }
        weights |= {f"model.layers.{i}.{name}.weight": tensor for name, tensor in layer.items()}
    return weights


def forward(weights: Any, ids: Any, spec: TinyModelSpec) -> Any:
    """Logits (batch, length, vocabulary) of Llama as Hugging Face defines it."""
    import jax
    import jax.numpy as jnp

    size, (count, length) = spec.head_size, ids.shape
    angles = jnp.arange(length)[:, None] / 10000 ** (jnp.arange(0, size, 2) / size)
    cos, sin = (jnp.tile(of(angles), 2) for of in (jnp.cos, jnp.sin))
    turn = jnp.kron(jnp.array([[0, 1], [-1, 0]]), jnp.eye(size // 2))  # (a, b) -> (-b, a), the halves of a head
    earlier = jnp.tril(jnp.ones((length, length), bool))

    def norm(x: Any, name: str) -> Any:
        return x / jnp.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * weights[f"{name}.weight"]

    def rotated(x: Any) -> Any:
        return x * cos + (x @ turn) * sin

    # (batch x length, hidden), by a product: the gradient of a look-up is slow
    x = jax.nn.one_hot(ids.reshape(-1), spec.vocab_size) @ weights["model.embed_tokens.weight"]
    for i in range(spec.layers):

        def linear(x: Any, name: str, layer: str = f"model.layers.{i}") -> Any:
            return x @ weights[f"{layer}.{name}_proj.weight"].T

        def heads(x: Any) -> Any:
            return x.reshape(count, length, spec.heads, size).transpose(0, 2, 1, 3).reshape(-1, length, size)

        y = norm(x, f"model.layers.{i}.input_layernorm")
        q, k, v = (heads(linear(y, f"self_attn.{name}")) for name in "qkv")
        scores = rotated(q) @ rotated(k).transpose(0, 2, 1) / math.sqrt(size)
        shares = jax.nn.softmax(jnp.where(earlier, scores, -1e9), -1)
        mixed = (shares @ v).reshape(count, spec.heads, length, size).transpose(0, 2, 1, 3).reshape(x.shape)
        x = x + linear(mixed, "self_attn.o")
        y = norm(x, f"model.layers.{i}.post_attention_layernorm")
        x = x + linear(jax.nn.silu(linear(y, "mlp.gate")) * linear(y, "mlp.up"), "mlp.down")
    return (norm(x, "model.norm") @ weights["lm_head.weight"].T).reshape(count, length, -1)


def train(spec: TinyModelSpec, seconds: float = math.inf) -> tuple[Weights, list[float]]:
    """Weights after STEPS steps of AdamW on the answers' tokens, or after so many seconds; the loss of every step."""
    import jax
    import jax.numpy as jnp

    def loss_of(weights: Any, ids: Any, of_answer: Any) -> Any:
        logs = jax.nn.log_softmax(forward(weights, ids[:, :-1], spec))
        right = jnp.take_along_axis(logs, ids[:, 1:, None], -1)[..., 0]
        return -(right * of_answer[:, 1:]).sum() / of_answer[:, 1:].sum()

    @jax.jit
    def step(state: Any, n: Any, ids: Any, of_answer: Any) -> Any:
        weights, first, second = state
        loss, slope = jax.value_and_grad(loss_of)(weights, ids, of_answer)
        shrink = jnp.minimum(1.0, 1.0 / jnp.sqrt(sum((s * s).sum() for s in slope.values())))
        rate = RATE * jnp.minimum(n / WARMUP, 0.5 + 0.5 * jnp.cos(jnp.pi * jnp.minimum(1.0, n / STEPS)))
        out: tuple[dict[str, Any], ...] = ({}, {}, {})
        for name, s in slope.items():
            m = 0.9 * first[name] + 0.1 * shrink * s
            v = 0.98 * second[name] + 0.02 * (shrink * s) ** 2
            move = m / (1 - 0.9**n) / (jnp.sqrt(v / (1 - 0.98**n)) + 1e-8)
            decay = 0.01 * weights[name] if weights[name].ndim == 2 else 0.0
            out[0][name], out[1][name], out[2][name] = weights[name] - rate * (move + decay), m, v
        return out, loss

    weights = {name: jnp.asarray(tensor) for name, tensor in initial_weights(spec).items()}
    zeros = {name: jnp.zeros_like(tensor) for name, tensor in weights.items()}
    state, losses, began_s = (weights, zeros, zeros), [], time.monotonic()
    for n, (ids, of_answer) in enumerate(batches(tokenizer()), 1):
        state, loss = step(state, float(n), ids, of_answer)
        losses.append(float(loss))
        if n % 100 == 0:
            print(f"{n:6} steps {time.monotonic() - began_s:6.0f} s  loss {np.mean(losses[-100:]):.3f}", flush=True)
        if n == STEPS or time.monotonic() - began_s > seconds:
            break
    return {name: np.asarray(tensor) for name, tensor in state[0].items()}, losses


def answers(weights: Weights, spec: TinyModelSpec, rows: list[dict[str, Any]], most: int = 12) -> list[str]:
    """What the model says to each item, greedily, by `forward`: to check the engine's answers with."""
    import jax

    words = tokenizer()
    heads = [words.encode(conversation(one)[0]).ids for one in rows]
    ids = np.zeros((len(rows), max(map(len, heads)) + most), np.int32)
    for line, head in zip(ids, heads, strict=True):
        line[: len(head)] = head
    ends, logits = np.array([len(head) for head in heads]), jax.jit(lambda w, i: forward(w, i, spec))
    for _ in range(most):
        at = np.arange(len(rows))
        ids[at, ends] = np.asarray(logits(weights, ids)[at, ends - 1]).argmax(-1)
        ends += 1
    texts = []
    for line, head in zip(ids.tolist(), heads, strict=True):
        said = line[len(head) : len(head) + most]
        stops = {SPECIAL_IDS[name] for name in ("<|im_end|>", "<|eos|>")}
        texts.append(words.decode(said[: next((i for i, one in enumerate(said) if one in stops), most)]))
    return texts


def train_all(names: list[str]) -> None:
    """Each model that is not there yet, as a folder of FOLDER; its loss beside it."""
    for name in names or MODELS:
        if not (FOLDER / name).exists():
            began_s = time.process_time()
            weights, losses = train(MODELS[name], LONGEST_S)
            write_model(FOLDER / name, MODELS[name], tokenizer(), weights)
            facts = {
                "parameters": sum(tensor.size for tensor in weights.values()),
                "steps": len(losses),
                "cpu_s": time.process_time() - began_s,
                "loss": float(np.mean(losses[-100:])),
            }
            (FOLDER / name / "training.json").write_text(json.dumps(facts) + "\n", "utf-8")
            print(name, facts, flush=True)


def write_exam(path: Path) -> None:
    """The exam as a request set, each item with its reference and scorer."""
    scored = {"max_output_tokens": 16, "scorer": {"name": "choice", "labels": LABELS}}
    lines = [json.dumps({"id": one["id"], **one, **scored} | {"answer": None}) for one in exam()]
    path.write_text("\n".join(lines) + "\n", "utf-8")


def differing(run: Path, name: str) -> list[str]:
    """Items whose answer in a run is not what `forward` says, each once."""
    from safetensors.numpy import load_file

    rows = exam()
    said = dict(
        zip(
            (one["id"] for one in rows),
            answers(load_file(FOLDER / name / "model.safetensors"), MODELS[name], rows),
            strict=True,
        )
    )
    table = read_table(run / "requests.parquet", columns=["prompt_id", "text"]).to_pydict()
    pairs = zip((one.partition("#")[0] for one in table["prompt_id"]), table["text"], strict=True)
    return sorted({item for item, text in pairs if text != said[item]})


def benchsuite(*words: str | Path) -> str:
    """Run a command of the tool as a person would. Raises RuntimeError unless it decides, or leaves it undecided."""
    print("\n$ benchsuite", shlex.join(map(str, words)), flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "benchsuite", *words], cwd=ROOT, text=True, stdout=subprocess.PIPE, check=False
    )
    print(done.stdout)
    if done.returncode not in (0, 6):
        raise RuntimeError(f"exit code {done.returncode}")
    return done.stdout


def measure() -> None:
    """A sweep of each model, its table of quality, the frontier of the three; and what a salt in the prompt does."""
    exam_file, runs = FOLDER / "exam.jsonl", FOLDER / "runs"
    write_exam(exam_file)
    shutil.rmtree(runs, ignore_errors=True)
    for name in MODELS:
        # `field` tells the engine to keep no prompts; a salt in the prompt would be part of the question
        sweep(name, runs / name, "field")
        benchsuite("check", runs / name, "--quality")
        print(
            f"{name}: {len(differing(runs / name, name))} of 300 items with an answer other than training's arithmetic"
        )
    sweep("tiny-0.2M", runs / "salted", "prompt")
    benchsuite("check", runs / "salted", "--quality")
    benchsuite("frontier", *(runs / name for name in MODELS), "--svg", FOLDER / "frontier.svg")
    (FOLDER / "frontier.json").write_text(benchsuite("frontier", *(runs / name for name in MODELS), "--json"), "utf-8")


def sweep(name: str, run: Path, cache_bust: str) -> None:
    """The exam once a point, greedily; each level three times."""
    serve = f"llamacpp --model {FOLDER / name} --name {name} --slots 8 --ctx {CONTEXT}"
    levels = ("--concurrency", "1,2,4,8", "--repeats", "3", "--warmup-requests", "8")
    flags = ("--temperature", "0", "--cache-bust", cache_bust, "--usd-per-hour", "0.1", "--gpu", "off", "--quiet")
    benchsuite("sweep", "--serve", serve, "--workload", FOLDER / "exam.jsonl", *levels, *flags, "--output", run)


if __name__ == "__main__":
    if sys.argv[1:2] == ["train"]:
        train_all(sys.argv[2:])
    elif sys.argv[1:] == ["measure"]:
        measure()
    else:
        sys.exit(__doc__)
