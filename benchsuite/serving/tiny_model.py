"""A tiny random-weight Llama, made here: small enough for any laptop, real enough for any engine.

Which tokens it can say is decided in its weights, because no request field decides it on every server. Dimension 0 of
the residual stream is 1 for every token and no layer writes to it, so column 0 of the output head is one bias a token.
(The final norm divides by a root mean square that stays near 1, because layers write little.) A bias of -60 makes a
token impossible.

By default the end of sequence, the special tokens and all pieces that are not readable ASCII are impossible. Every
server then generates exactly `max_tokens` tokens, and each is a visible piece of text.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchsuite.errors import SpecError
from benchsuite.serving import tiny_tokenizer as tt
from benchsuite.serving.extras import missing_extra

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Weights = dict[str, NDArray[np.float32]]

GGUF_NAME = "model.gguf"
_IMPOSSIBLE = -60.0
_LOGIT_STD = 1.7
_WRITE_STD = 0.1  # of what all attention, or all MLP, blocks together add to a residual of 1
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class TinyModelSpec:
    """Sizes and seed of a tiny model; one spec is one model, byte for byte.

    vocab_size: rows of the embedding; rows that the tokenizer does not fill are never produced. context_tokens: what
    config.json promises (random weights work at any length). eos_every: about the mean reply length in tokens when
    sampled at temperature 1 with no top-k, top-p or min-p (greedy decoding knows no mean); None: a reply never ends by
    itself. any_bytes: also let pieces of UTF-8 characters through (U+FFFD in the text, fewer chunks than tokens).
    Raises SpecError.
    """

    hidden_size: int = 128
    layers: int = 2
    heads: int = 2
    kv_heads: int = 1
    intermediate_size: int = 256
    vocab_size: int = 4096
    context_tokens: int = 32768
    seed: int = 1234
    eos_every: float | None = None
    any_bytes: bool = False

    def __post_init__(self) -> None:
        sizes = (self.hidden_size, self.layers, self.heads, self.kv_heads, self.intermediate_size, self.context_tokens)
        if min(sizes) < 1:
            raise SpecError("every size of the tiny model is at least 1", given=self)
        if self.hidden_size % self.heads or self.head_size % 2:
            raise SpecError(
                "hidden size must be an even multiple of the number of heads",
                given=f"hidden size {self.hidden_size}, {self.heads} heads",
                hint="64 per head suits every engine (vLLM on CPU wants a multiple of 32)",
            )
        if self.heads % self.kv_heads:
            raise SpecError("heads must be a multiple of kv heads", given=f"{self.heads} and {self.kv_heads}")
        if self.vocab_size < tt.SMALLEST_VOCAB:
            raise SpecError("the vocabulary is too small", given=self.vocab_size, expected=f">= {tt.SMALLEST_VOCAB}")
        if not 0 <= self.seed < 2**32:
            raise SpecError("the seed does not fit", given=self.seed, expected="0 to 2**32 - 1")
        if self.eos_every is not None and self.eos_every <= 1:
            raise SpecError("a mean reply length is more than 1 token", given=self.eos_every, expected="> 1, or none")

    @property
    def head_size(self) -> int:
        """Dimensions of one attention head."""
        return self.hidden_size // self.heads


@dataclass(frozen=True, slots=True)
class TinyModelInfo:
    """What was written. producible_tokens: how many of vocab_size the model can say. gguf_path: None if not made."""

    path: Path
    vocab_size: int
    producible_tokens: int
    parameters: int
    gguf_path: Path | None


def make_tiny_model(out: Path, spec: TinyModelSpec | None = None, *, gguf: bool = True) -> TinyModelInfo:
    """Write the model into the folder `out` (made if need be) in Hugging Face layout, and model.gguf if asked.

    The same spec gives the same bytes with the same versions of numpy, tokenizers, safetensors and gguf.
    Raises EngineError when the extra `engine` is not installed or the folder cannot be written.
    """
    try:
        from safetensors.numpy import save
    except ImportError as error:
        raise missing_extra("safetensors", "making the tiny model") from error
    spec = spec or TinyModelSpec()
    tokenizer = tt.train_tokenizer(spec.vocab_size)
    producible = _producible_ids(tokenizer, spec)
    weights = _weights(spec, producible)

    out.mkdir(parents=True, exist_ok=True)
    (out / "model.safetensors").write_bytes(save(weights, metadata={"format": "pt"}))
    tokenizer.save(str(out / "tokenizer.json"))
    (out / "chat_template.jinja").write_text(_CHAT_TEMPLATE, "utf-8")
    for name, content in _configs(spec).items():
        (out / name).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", "utf-8")

    gguf_path = None
    if gguf:
        from benchsuite.serving.gguf_file import write_gguf

        gguf_path = write_gguf(out, out / GGUF_NAME)
    return TinyModelInfo(
        path=out,
        vocab_size=spec.vocab_size,
        producible_tokens=len(producible) + (spec.eos_every is not None),
        parameters=sum(tensor.size for tensor in weights.values()),
        gguf_path=gguf_path,
    )


def _producible_ids(tokenizer: Tokenizer, spec: TinyModelSpec) -> list[int]:
    if spec.any_bytes:
        return list(range(len(tt.SPECIAL_TOKENS), tokenizer.get_vocab_size()))
    return tt.readable_ids(tokenizer)


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
    weights["lm_head.weight"] = _head(normal(spec.vocab_size, hidden, std=_LOGIT_STD), spec, producible)
    return weights


def _head(head: NDArray[np.float32], spec: TinyModelSpec, producible: list[int]) -> NDArray[np.float32]:
    """`head` (vocab_size x hidden_size) with column 0 as the bias of each token."""
    impossible = np.ones(len(head), bool)
    impossible[producible] = False
    head[:, 0] = 0.0
    head[impossible] = 0.0
    head[impossible, 0] = _IMPOSSIBLE
    if spec.eos_every is not None:
        # the other logits are about N(0, s^2): the sum of their exponentials is about n e^(s^2 / 2)
        log_others = math.log(len(producible)) + _LOGIT_STD**2 / 2
        head[tt.SPECIAL_IDS[tt.EOS], 0] = log_others - math.log(spec.eos_every - 1)
    return head


def _configs(spec: TinyModelSpec) -> dict[str, dict[str, Any]]:
    """The JSON files of a Hugging Face model folder, by name."""
    ids = tt.SPECIAL_IDS
    special_tokens = {"bos_token": tt.BOS, "eos_token": tt.EOS, "pad_token": tt.PAD}
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
            "bos_token_id": ids[tt.BOS],
            "eos_token_id": ids[tt.EOS],
            "pad_token_id": ids[tt.PAD],
            "torch_dtype": "float32",
            "initializer_range": 0.02,
            "use_cache": True,
        },
        "generation_config.json": {
            "bos_token_id": ids[tt.BOS],
            "pad_token_id": ids[tt.PAD],
            "eos_token_id": [ids[tt.EOS], ids[tt.IM_END]],
            "do_sample": False,
        },
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": spec.context_tokens,
            "clean_up_tokenization_spaces": False,
            "add_bos_token": False,
            "additional_special_tokens": [tt.IM_START, tt.IM_END],
            "chat_template": _CHAT_TEMPLATE,
            **special_tokens,
        },
        "special_tokens_map.json": special_tokens,
    }
