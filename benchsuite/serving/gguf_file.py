"""The tiny model as one GGUF file, for llama.cpp: float32, no quantisation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchsuite.errors import EngineError
from benchsuite.serving.extras import missing_extra
from benchsuite.serving.tiny_tokenizer import IM_END

if TYPE_CHECKING:
    from gguf import GGUFWriter

_TENSORS = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_gguf(model_dir: Path, out: Path) -> Path:
    """Write the folder made by `make_tiny_model` as the GGUF file `out`; returns `out`.

    Only for models that this package made: other tokenizers and architectures need llama.cpp's own converter.
    Raises EngineError when a file is missing or the extra `engine` is not installed.
    """
    try:
        from gguf import GGUFWriter
        from safetensors.numpy import load_file
    except ImportError as error:
        raise missing_extra("gguf", "writing a GGUF file") from error
    try:
        config = json.loads((model_dir / "config.json").read_text("utf-8"))
        tokenizer = json.loads((model_dir / "tokenizer.json").read_text("utf-8"))
        template = (model_dir / "chat_template.jinja").read_text("utf-8")
        weights = load_file(model_dir / "model.safetensors")
    except OSError as error:
        raise EngineError("the model folder is not complete", where=str(model_dir), given=str(error)) from error
    writer = GGUFWriter(out, "llama")
    _add_architecture(writer, config)
    _add_tokenizer(writer, config, tokenizer, template)
    for name, tensor in weights.items():
        writer.add_tensor(_gguf_name(name), _gguf_layout(name, tensor, config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def _add_architecture(writer: GGUFWriter, config: dict[str, Any]) -> None:
    from gguf import LlamaFileType

    writer.add_name("tiny-llama")
    writer.add_file_type(LlamaFileType.ALL_F32)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def _add_tokenizer(writer: GGUFWriter, config: dict[str, Any], tokenizer: dict[str, Any], template: str) -> None:
    from gguf import TokenType

    special = {entry["content"]: entry["id"] for entry in tokenizer["added_tokens"]}
    tokens = [f"<|unused_{index}|>" for index in range(config["vocab_size"])]
    types = [TokenType.UNUSED] * len(tokens)
    for token, index in (tokenizer["model"]["vocab"] | special).items():
        tokens[index] = token
        types[index] = TokenType.CONTROL if token in special else TokenType.NORMAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")  # the split that ByteLevel(use_regex=True) makes
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_eot_token_id(special[IM_END])
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(template)


def _gguf_name(name: str) -> str:
    """`model.layers.1.mlp.up_proj.weight` is `blk.1.ffn_up.weight`."""
    stem = name.removesuffix(".weight")
    if not stem.startswith("model.layers."):
        return f"{_TENSORS[stem]}.weight"
    _, _, index, part = stem.split(".", 3)
    return f"blk.{index}.{_TENSORS[part]}.weight"


def _gguf_layout(name: str, tensor: NDArray[np.float32], config: dict[str, Any]) -> NDArray[np.float32]:
    """llama.cpp rotates neighbouring rows, Hugging Face the two halves of a head: interleave those of q and k."""
    if "q_proj" in name:
        heads = config["num_attention_heads"]
    elif "k_proj" in name:
        heads = config["num_key_value_heads"]
    else:
        return tensor
    halves = tensor.reshape(heads, 2, -1, tensor.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(tensor.shape))
