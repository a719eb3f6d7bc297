"""Names in a checkpoint ⇄ canonical names, known from headers alone.

Canonical are Hugging Face's names, with the experts of a layer stacked as mlx-lm stores them:
``model.layers.N.mlp.switch_mlp.{gate,up,down}_proj.weight`` (E, out, in). A checkpoint that keeps
one tensor per expert (``mlp.experts.E.gate_proj.weight``) maps onto the same names; its experts may
lie spread over shards.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import CheckpointError, UnsupportedModel
from ..model.config import ModelConfig
from .safetensors import TensorInfo

_EXPERT = re.compile(
    r"(?P<mlp>model\.layers\.\d+\.mlp)\.experts\.(?P<expert>\d+)\.(?P<projection>\w+_proj)\.weight"
)
# Buffers that old exporters stored and every reader computes for itself.
_COMPUTED = re.compile(r".*\.rotary_emb\.inv_freq")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a canonical tensor comes from: one stored tensor, or one per expert, in order."""

    name: str
    parts: tuple[TensorInfo, ...]
    stacked: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the canonical tensor."""
        first = self.parts[0].shape
        return (len(self.parts), *first) if self.stacked else first

    @property
    def dtype(self) -> str:
        """Its dtype as safetensors names it."""
        return self.parts[0].dtype

    @property
    def nbytes(self) -> int:
        """Bytes as stored."""
        return sum(part.nbytes for part in self.parts)


def canonical(tensors: Mapping[str, TensorInfo], config: ModelConfig) -> dict[str, Origin]:
    """Canonical name → origin, for every tensor that the model uses.

    A tied model's ``lm_head`` is left out (some exporters store it anyway), and so are buffers that
    are computed.

    Raises:
        CheckpointError: if an expert is missing, surplus, or differs in shape or dtype from its
            siblings.
        UnsupportedModel: for a layout that is not known, naming a tensor of it.
    """
    origins: dict[str, Origin] = {}
    experts: dict[str, dict[int, TensorInfo]] = {}
    for name, info in tensors.items():
        if _COMPUTED.fullmatch(name) or (
            config.tie_word_embeddings and name.startswith("lm_head.")
        ):
            continue
        match = _EXPERT.fullmatch(name)
        if match is None:
            _refuse_foreign(name)
            origins[name] = Origin(name, (info,), stacked=False)
            continue
        target = f"{match['mlp']}.switch_mlp.{match['projection']}.weight"
        experts.setdefault(target, {})[int(match["expert"])] = info
    for target, found in experts.items():
        origins[target] = _stack(target, found, config)
    return origins


def _refuse_foreign(name: str) -> None:
    if not name.startswith(("model.layers.", "model.embed_tokens.", "model.norm.", "lm_head.")):
        raise UnsupportedModel(
            f"The checkpoint holds {name}, which no layout that mlxqwen knows contains.",
            "Use the text-only release of this model.",
        )
    foreign = (".mlp.experts.", ".weight_scale_inv", ".qweight", ".qzeros", ".g_idx")
    for part in foreign:
        if part in name:
            raise UnsupportedModel(
                f"The checkpoint holds {name}: packed or otherwise quantised layouts "
                "(FP8, GPTQ, AWQ, joined experts) cannot be read yet.",
                "Use the bfloat16 release of this model, or an MLX conversion of it.",
            )


def _stack(target: str, found: Mapping[int, TensorInfo], config: ModelConfig) -> Origin:
    count = config.moe.num_experts if config.moe is not None else 0
    missing = [index for index in range(count) if index not in found]
    if missing:
        raise CheckpointError(
            f"Expert {missing[0]} of {target} is missing ({len(missing)} of {count}).",
            "The checkpoint is incomplete; download it again.",
        )
    if len(found) > count:
        raise CheckpointError(
            f"{target} has {len(found)} experts where config.json says {count}.",
            "config.json and weights belong to different models; download both again.",
        )
    parts = tuple(found[index] for index in range(count))
    for part in parts:
        if (part.shape, part.dtype) != (parts[0].shape, parts[0].dtype):
            raise CheckpointError(
                f"{part.name} is {part.dtype} {part.shape}, unlike {parts[0].name}, "
                f"which is {parts[0].dtype} {parts[0].shape}.",
                "The checkpoint is damaged; download it again.",
            )
    return Origin(target, parts, stacked=True)


def quantized_modules(names: Iterable[str]) -> list[str]:
    """Module paths that have packed weights: those with ``.scales`` beside ``.weight``."""
    return [name.removesuffix(".scales") for name in names if name.endswith(".scales")]
