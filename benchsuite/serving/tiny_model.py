"""A tiny random-weight Llama, made here: small enough for any laptop, real enough for any engine.

Which tokens it can say is decided in its weights, because no request field decides it on every server. Dimension 0 of
the residual stream is 1 for every token and no layer writes to it, so column 0 of the output head is one bias a token.
(The final norm divides by a root mean square that stays near 1, because layers write little.) A bias of -60 makes a
token impossible.

By default the end of sequence, the special tokens and all pieces that are not readable ASCII are impossible. Every
server then generates exactly `max_tokens` tokens, and each is a visible piece of text.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import os
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from benchsuite.errors import EngineError, os_error_as
from benchsuite.strict_model import StrictModel, key

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Weights = dict[str, NDArray[np.float32]]

GGUF_NAME = "model.gguf"
PAD, BOS, EOS, IM_START, IM_END = SPECIAL_TOKENS = ("<|pad|>", "<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>")
SPECIAL_IDS = {token: index for index, token in enumerate(SPECIAL_TOKENS)}
SMALLEST_VOCAB = len(SPECIAL_TOKENS) + 256
_CHINESE_WEIGHT = 4
# Byte-level BPE writes a space as U+0120 and a newline as U+010A; printable ASCII stands for itself.
_READABLE = frozenset(chr(code) for code in range(0x21, 0x7F)) | {"\u0120", "\u010a"}
_IMPOSSIBLE = -60.0
_LOGIT_STD = 1.7
_WRITE_STD = 0.1  # of what all attention, or all MLP, blocks together add to a residual of 1
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_GGUF_KEYS = {  # GGUF's key: config.json's
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "head_count": "num_attention_heads",
    "head_count_kv": "num_key_value_heads",
    "key_length": "head_dim",
    "value_length": "head_dim",
    "rope_dimension_count": "head_dim",
    "rope_freq_base": "rope_theta",
    "layer_norm_rms_eps": "rms_norm_eps",
    "vocab_size": "vocab_size",
}


class TinyModelSpec(StrictModel):
    """Sizes and seed of a tiny model; one spec is one model, byte for byte."""

    hidden_size: int = key(128, "hidden size", "--hidden", gt=0)
    layers: int = key(2, "number of layers", gt=0)
    heads: int = key(2, "attention heads", gt=0)
    kv_heads: int = key(1, "key and value heads", gt=0)
    intermediate_size: int = key(256, "MLP size", "--inter", gt=0)
    # rows of the embedding; those that the tokenizer does not fill are never produced
    vocab_size: int = key(4096, "vocabulary size", "--vocab", ge=SMALLEST_VOCAB)
    # what config.json promises; random weights work at any length
    context_tokens: int = key(32768, "context, tokens", "--ctx", gt=0)
    seed: int = key(1234, "seed of the weights", ge=0, lt=2**32)
    # of replies that are sampled without top-k, top-p or min-p (greedy decoding knows no mean)
    eos_every: float | None = key(None, "mean tokens of a reply at temperature 1, about", unset="it never ends", gt=1)
    # U+FFFD in the text, fewer chunks than tokens
    any_bytes: bool = key(False, "let pieces of UTF-8 characters through")

    @model_validator(mode="after")
    def _heads_divide(self) -> TinyModelSpec:
        # 64 per head suits every engine; vLLM on a CPU wants a multiple of 32
        if self.hidden_size % (2 * self.heads):
            raise ValueError("hidden_size should be an even number for each of the heads")
        if self.heads % self.kv_heads:
            raise ValueError("heads should be a multiple of kv_heads")
        return self

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.heads


def make_tiny_model(out: Path, spec: TinyModelSpec | None = None, *, gguf: bool = True) -> tuple[int, int]:
    """Write the model into the folder `out` (made if need be) in Hugging Face layout, and model.gguf if asked.

    The same spec gives the same bytes with the same versions of numpy, tokenizers, safetensors and gguf. Returns how
    many parameters the model has, and how many of the vocabulary it can say.
    Raises EngineError when the extra `engine` is not installed or the folder cannot be written.
    """
    spec = spec or TinyModelSpec()
    tokenizer = train_tokenizer(spec.vocab_size)
    vocabulary = tokenizer.get_vocab()
    producible = sorted(
        index
        for token, index in vocabulary.items()
        if token not in SPECIAL_TOKENS and (spec.any_bytes or _READABLE.issuperset(token))
    )
    weights = _weights(spec, producible)
    write_model(out, spec, tokenizer, weights, gguf=gguf)
    return sum(tensor.size for tensor in weights.values()), len(producible) + bool(spec.eos_every)


def write_model(out: Path, spec: TinyModelSpec, tokenizer: Tokenizer, weights: Weights, *, gguf: bool = True) -> None:
    """Write a Llama into the folder `out`, as make_tiny_model does.

    tokenizer: byte-level BPE whose first ids are SPECIAL_TOKENS. weights: float32, by their names in Hugging Face's
    Llama. Raises EngineError as make_tiny_model.
    """
    safetensors = _library("safetensors.numpy")
    with os_error_as(EngineError, "the tiny model cannot be written", out):
        out.mkdir(parents=True, exist_ok=True)
        (out / "model.safetensors").write_bytes(safetensors.save(weights, metadata={"format": "pt"}))
        tokenizer.save(str(out / "tokenizer.json"))
        (out / "chat_template.jinja").write_text(_CHAT_TEMPLATE, "utf-8")
        for name, content in _configs(spec).items():
            (out / name).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", "utf-8")
        if gguf:
            _write_gguf(out, spec, tokenizer.get_vocab(), weights)


def missing_extra(library: str, purpose: str) -> EngineError:
    """The error for a `library` of the extra `engine` that `purpose` needs."""
    return EngineError(
        f"{purpose} needs the Python package {library}, which is not installed",
        expected="the optional dependencies named `engine`",
        hint="pip install 'benchsuite[engine]'",
    )


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise missing_extra(name.split(".")[0], "making the tiny model") from error


def train_tokenizer(vocab_size: int) -> Tokenizer:
    """A tokenizer of at most `vocab_size` tokens: the specials (ids 0 to 4), the 256 bytes, then merges.

    Deterministic for one version of `tokenizers`: the trainer sorts its alphabet, counts are sums, and equal counts
    are broken by the pair's ids, so neither threads nor hash seeds decide anything. Raises EngineError without the
    package.
    """
    lib = _library("tokenizers")
    tokenizer: Tokenizer = lib.Tokenizer(lib.models.BPE())
    tokenizer.pre_tokenizer = lib.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = lib.decoders.ByteLevel()
    trainer = lib.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        show_progress=False,
        initial_alphabet=sorted(lib.pre_tokenizers.ByteLevel.alphabet()),
    )
    # English words follow a space, Chinese ones do not; weighted, so that Chinese characters get their merges first: a
    # missing English merge costs one token a word, a missing Chinese one two tokens a character.
    words = files("benchsuite.serving").joinpath("training_text.txt").read_text("utf-8").split()
    english = "".join(f" {word}" for word in words if word.isascii())
    chinese = [word for word in words if not word.isascii() for _ in range(_CHINESE_WEIGHT)]
    tokenizer.train_from_iterator([english, *chinese], trainer)
    return tokenizer


def _weights(spec: TinyModelSpec, producible: list[int]) -> Weights:
    # RandomState, not default_rng: numpy promises that its stream never changes (NEP 19)
    draw = np.random.RandomState(spec.seed)

    def normal(rows: int, columns: int, std: float = 1.0) -> NDArray[np.float32]:
        """A matrix whose product with a vector of root mean square 1 has standard deviation `std`."""
        return (std / math.sqrt(columns) * draw.standard_normal((rows, columns))).astype(np.float32)

    hidden, attention = spec.hidden_size, spec.heads * spec.head_size
    write_std = _WRITE_STD / math.sqrt(spec.layers)
    ones = np.ones(hidden, np.float32)
    embedding = normal(spec.vocab_size, hidden, std=math.sqrt(hidden))
    embedding[:, 0] = 1.0
    weights: Weights = {"model.embed_tokens.weight": embedding, "model.norm.weight": ones}
    for index in range(spec.layers):
        layer = {
            "self_attn.q_proj": normal(attention, hidden),
            "self_attn.k_proj": normal(spec.kv_heads * spec.head_size, hidden),
            "self_attn.v_proj": normal(spec.kv_heads * spec.head_size, hidden),
            "self_attn.o_proj": normal(hidden, attention, std=write_std),
            "mlp.gate_proj": normal(spec.intermediate_size, hidden),
            "mlp.up_proj": normal(spec.intermediate_size, hidden),
            "mlp.down_proj": normal(hidden, spec.intermediate_size, std=write_std),
            "input_layernorm": ones,
            "post_attention_layernorm": ones,
        }
        layer["self_attn.o_proj"][0] = layer["mlp.down_proj"][0] = 0.0  # nothing writes to the bias channel
        weights |= {f"model.layers.{index}.{name}.weight": tensor for name, tensor in layer.items()}
    # the output head, with column 0 as the bias of each token
    weights["lm_head.weight"] = head = normal(spec.vocab_size, hidden, std=_LOGIT_STD)
    impossible = np.ones(len(head), bool)
    impossible[producible] = False
    head[:, 0] = 0.0
    head[impossible] = 0.0
    head[impossible, 0] = _IMPOSSIBLE
    if spec.eos_every is not None:
        # the other logits are about N(0, s^2): the sum of their exponentials is about n e^(s^2 / 2)
        log_others = math.log(len(producible)) + _LOGIT_STD**2 / 2
        head[SPECIAL_IDS[EOS], 0] = log_others - math.log(spec.eos_every - 1)
    return weights


def _configs(spec: TinyModelSpec) -> dict[str, dict[str, Any]]:
    """The JSON files of a Hugging Face model folder, by name."""
    special_tokens = {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD}
    ids: dict[str, Any] = {f"{name}_id": SPECIAL_IDS[token] for name, token in special_tokens.items()}
    return {
        "config.json": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": spec.hidden_size,
            "intermediate_size": spec.intermediate_size,
            "num_hidden_layers": spec.layers,
            "num_attention_heads": spec.heads,
            "num_key_value_heads": spec.kv_heads,
            "head_dim": spec.head_size,
            "vocab_size": spec.vocab_size,
            "max_position_embeddings": spec.context_tokens,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "hidden_act": "silu",
            "tie_word_embeddings": False,
            "attention_bias": False,
            "mlp_bias": False,
            "torch_dtype": "float32",
            **ids,
        },
        "generation_config.json": ids | {"eos_token_id": [SPECIAL_IDS[EOS], SPECIAL_IDS[IM_END]], "do_sample": False},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": spec.context_tokens,
            "clean_up_tokenization_spaces": False,
            "add_bos_token": False,
            "add_eos_token": False,
            "additional_special_tokens": [IM_START, IM_END],
            "chat_template": _CHAT_TEMPLATE,
            **special_tokens,
        },
        "special_tokens_map.json": special_tokens,
    }


def _write_gguf(out: Path, spec: TinyModelSpec, vocabulary: dict[str, int], weights: Weights) -> None:
    lib, config = _library("gguf"), _configs(spec)["config.json"]
    writer = lib.GGUFWriter(out / GGUF_NAME, "llama")
    writer.add_name("tiny-llama")
    writer.add_file_type(lib.LlamaFileType.ALL_F32)
    for gguf_key, name in _GGUF_KEYS.items():
        getattr(writer, f"add_{gguf_key}")(config[name])
    tokens = [f"<|unused_{index}|>" for index in range(spec.vocab_size)]
    types = [lib.TokenType.UNUSED] * len(tokens)
    for token, index in vocabulary.items():
        tokens[index] = token
        types[index] = lib.TokenType.CONTROL if token in SPECIAL_IDS else lib.TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")  # the split that ByteLevel(use_regex=True) makes
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_eot_token_id(SPECIAL_IDS[IM_END])
    lib.SpecialVocab(out, load_merges=True).add_to_gguf(writer, quiet=True)
    names = lib.get_tensor_name_map(lib.MODEL_ARCH.LLAMA, spec.layers)
    for name, tensor in weights.items():
        if "q_proj" in name or "k_proj" in name:
            # llama.cpp rotates neighbouring rows, Hugging Face the two halves of a head: interleave them
            halves = tensor.reshape(-1, 2, spec.head_size // 2, spec.hidden_size)
            tensor = np.ascontiguousarray(halves.swapaxes(1, 2).reshape(tensor.shape))
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def cache_dir() -> Path:
    """$XDG_CACHE_HOME/benchsuite, or ~/.cache/benchsuite."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "benchsuite"


def cached_tiny_model(spec: TinyModelSpec | None = None) -> Path:
    """The folder of the model of `spec`, with its model.gguf; made if it is not there yet.

    A folder appears whole or not at all, also with several processes at once.
    Raises EngineError when the extra `engine` is not installed or the cache cannot be written.
    """
    spec = spec or TinyModelSpec()
    digest = hashlib.sha256(repr(spec).encode())
    for name in ("tiny_model.py", "training_text.txt"):  # what makes it of the spec
        digest.update((files("benchsuite.serving") / name).read_bytes())
    final = cache_dir() / f"tiny-model-{digest.hexdigest()[:16]}"
    if final.is_dir():
        return final
    hint = "set XDG_CACHE_HOME to a folder that can"
    with os_error_as(EngineError, "the cache folder cannot be written", hint=hint):
        final.parent.mkdir(parents=True, exist_ok=True)
        work = tempfile.TemporaryDirectory(prefix=".tiny-model-", dir=final.parent)
    with work:
        make_tiny_model(Path(work.name), spec)
        try:
            Path(work.name).rename(final)
        except OSError:
            if not final.is_dir():  # else another process was first, with the same bytes
                raise
    return final
