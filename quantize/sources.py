"""Source layouts: which tensors a checkpoint must hold, and which rows of the output each feeds.

Read are plain checkpoints and those that store each expert by itself
(``mlp.experts.N.gate_proj.weight``), which MLX wants stacked along a leading axis
(``mlp.switch_mlp.gate_proj.weight``). Everything is checked by name, shape and dtype before any
work: a tensor that the configuration does not call for could change the model's mathematics.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

from mlxqwen.checkpoint.directory import Directory
from mlxqwen.checkpoint.quantspec import parse_quantization
from mlxqwen.checkpoint.safetensors import TensorInfo
from mlxqwen.errors import CheckpointError, UnsupportedModel
from mlxqwen.model.config import ModelConfig

FLOATS = frozenset({"BF16", "F16", "F32"})

_UNQUANTISED = "Start from the unquantised release of this model."

# Endings of tensors that belong to layouts we can name.
_FOREIGN = (
    (".experts.gate_up_proj", "experts packed into one tensor"),
    (".weight_scale_inv", "block FP8 weights"),
    (".weight_scale", "FP8 or integer weights"),
    (".qweight", "GPTQ or AWQ weights"),
    (".scales", "MLX-quantised weights"),
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A source tensor and the first row it fills, leading axes of the output flattened."""

    source: TensorInfo
    row: int


@dataclass(frozen=True, slots=True)
class Gathered:
    """One tensor under the name and shape that MLX wants, and the pieces that make it up."""

    name: str
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]


def gather(directory: Directory) -> list[Gathered]:
    """Every tensor of the model in its natural order: embeddings, layers, norm, head.

    Dropped are ``rotary_emb.inv_freq`` (computed anew) and, with tied embeddings, ``lm_head``.

    Raises:
        UnsupportedModel: An architecture, quantisation or layout that is not read here.
        CheckpointError: Tensors are missing, or one has another shape than the configuration says.
    """
    config = ModelConfig.parse(directory.config)
    if parse_quantization(directory.config) is not None:
        raise UnsupportedModel(f"{directory.path} is already quantised.", _UNQUANTISED)
    remaining = {
        name: info
        for name, info in directory.tensors.items()
        if not name.endswith("rotary_emb.inv_freq")
        and not (config.tie_word_embeddings and name == "lm_head.weight")
    }
    missing: list[str] = []
    gathered: list[Gathered] = []
    for name, shape in expected_tensors(config):
        found = _find(name, shape, remaining, missing)
        if found is not None:
            gathered.append(found)
    # First what is there and unknown: of a foreign layout the expected names are missing as well.
    if remaining:
        raise _unknown(directory, sorted(remaining))
    if missing:
        raise CheckpointError(
            f"{directory.path} lacks {len(missing)} of the tensors its config.json calls for, "
            f"first {missing[0]}.",
            "Download all its shards again.",
        )
    return gathered


def expected_tensors(config: ModelConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name and shape of every tensor that a configuration calls for, experts stacked."""
    hidden = config.hidden_size
    yield "model.embed_tokens.weight", (config.vocab_size, hidden)
    for layer in range(config.num_hidden_layers):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", (hidden,)
        yield from _attention(prefix + "self_attn.", config)
        yield prefix + "post_attention_layernorm.weight", (hidden,)
        if config.moe is not None and config.is_sparse(layer):
            experts, inner = (config.moe.num_experts,), config.moe.moe_intermediate_size
            yield prefix + "mlp.gate.weight", (*experts, hidden)
            mlp = prefix + "mlp.switch_mlp."
        else:
            experts, inner, mlp = (), config.intermediate_size, prefix + "mlp."
        yield mlp + "gate_proj.weight", (*experts, inner, hidden)
        yield mlp + "up_proj.weight", (*experts, inner, hidden)
        yield mlp + "down_proj.weight", (*experts, hidden, inner)
    yield "model.norm.weight", (hidden,)
    if not config.tie_word_embeddings:
        yield "lm_head.weight", (config.vocab_size, hidden)


def _attention(prefix: str, config: ModelConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    for name, out in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
        yield f"{prefix}{name}.weight", (out, config.hidden_size)
        if config.attention_bias:
            yield f"{prefix}{name}.bias", (out,)
    yield prefix + "o_proj.weight", (config.hidden_size, queries)
    if config.output_bias:
        yield prefix + "o_proj.bias", (config.hidden_size,)
    if config.qk_norm:
        yield prefix + "q_norm.weight", (config.head_dim,)
        yield prefix + "k_norm.weight", (config.head_dim,)


def _find(
    name: str, shape: tuple[int, ...], remaining: dict[str, TensorInfo], missing: list[str]
) -> Gathered | None:
    """Take one tensor out of ``remaining``, whole or expert by expert."""
    if name in remaining or ".switch_mlp." not in name:
        slots = {name: shape}
    else:
        experts = (name.replace(".switch_mlp.", f".experts.{n}.") for n in range(shape[0]))
        slots = dict.fromkeys(experts, shape[1:])
    lacking = [slot for slot in slots if slot not in remaining]
    missing += lacking
    pieces: list[Piece] = []
    row = 0
    for slot, wanted in slots.items():
        info = remaining.pop(slot, None)
        if info is not None:
            _check(info, wanted)
            pieces.append(Piece(info, row))
        row += prod(wanted[:-1])
    return None if lacking else Gathered(name, shape, tuple(pieces))


def _check(info: TensorInfo, shape: tuple[int, ...]) -> None:
    if info.dtype not in FLOATS:
        raise UnsupportedModel(
            f"{info.path}: {info.name} has dtype {info.dtype}, so this model is quantised.",
            _UNQUANTISED,
        )
    if info.shape != shape:
        raise CheckpointError(
            f"{info.path}: {info.name} has shape {list(info.shape)}, but config.json calls for "
            f"{list(shape)}.",
            "Check that config.json and the shards belong to the same model.",
        )


def _unknown(directory: Directory, names: list[str]) -> UnsupportedModel:
    for ending, layout in _FOREIGN:
        found = next((name for name in names if name.endswith(ending)), None)
        if found is not None:
            return UnsupportedModel(
                f"{directory.path} holds {layout} ({found}), a layout that cannot be quantised.",
                "Start from a release with bf16 weights and one tensor per expert.",
            )
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return UnsupportedModel(
        f"{directory.path} holds {names[0]}{more}, which config.json does not call for.",
        "Check that config.json and the shards belong to the same model.",
    )


def target_dtype(config: Mapping[str, object], tensor: Gathered) -> str:
    """The dtype of a tensor in the output: the one the configuration declares, else its own.

    Raises:
        CheckpointError: Nothing is declared and the experts of one stack differ.
    """
    declared = config.get("torch_dtype", config.get("dtype"))
    names = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}
    if isinstance(declared, str) and declared in names:
        return names[declared]
    dtypes = sorted({piece.source.dtype for piece in tensor.pieces})
    if len(dtypes) > 1:
        raise CheckpointError(
            f"The experts of {tensor.name} have dtypes {' and '.join(dtypes)}.",
            "Declare torch_dtype in config.json.",
        )
    return dtypes[0]
