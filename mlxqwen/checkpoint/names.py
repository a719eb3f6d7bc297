"""Names in a checkpoint ⇄ the text model's own: prefixes of multimodal wrappers, and what is left
out because the text model does not use it.

Prefixes are matched exactly: ``talker.model.layers.0…`` or ``mtp.layers.0…`` would collide with
the text model's layers under any looser rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import CheckpointError
from ..model.config import ModelConfig
from .safetensors import TensorInfo

# Buffers that old exporters stored and every reader computes for itself.
_COMPUTED = re.compile(r".*\.rotary_emb\.inv_freq")

_QWEN3_5 = {
    "model.language_model.": "model.",
    # As mlx-lm and mlx-vlm write them.
    "language_model.model.": "model.",
    "language_model.lm_head.": "lm_head.",
}
_PREFIXES: Mapping[str, Mapping[str, str]] = {
    "qwen3_5": _QWEN3_5,
    "qwen3_5_moe": _QWEN3_5,
    "qwen2_5_omni": {"thinker.model.": "model.", "thinker.lm_head.": "lm_head."},
}

_PREDICTION = "prediction of further tokens"
_MTP = {"mtp.": _PREDICTION, "language_model.mtp.": _PREDICTION}
_VISION = dict.fromkeys(
    ("model.visual.", "visual.", "vision_tower.", "model.vision_tower."), "vision tower"
)
_LEFT_OUT: Mapping[str, Mapping[str, str]] = {
    "qwen3_next": _MTP,
    "qwen3_5": {**_MTP, **_VISION},
    "qwen3_5_moe": {**_MTP, **_VISION},
    "qwen2_5_omni": {
        "thinker.audio_tower.": "audio encoder",
        "thinker.visual.": "vision tower",
        "talker.": "talker",
        "token2wav.": "speech synthesis",
    },
}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A part of the checkpoint that is not read; ``str()`` tells a user."""

    part: str
    tensors: int
    nbytes: int

    @property
    def sense(self) -> bool:
        """Whether it sees, hears or speaks: something that a user could miss."""
        return self.part != _PREDICTION

    def __str__(self) -> str:
        return f"{self.part} ({self.tensors} tensors, {self.nbytes / 1e6:,.0f} MB)"


def text_model(
    tensors: Iterable[TensorInfo], config: ModelConfig
) -> tuple[dict[str, TensorInfo], tuple[LeftOut, ...]]:
    """The text model's tensors by name without wrapper prefixes, and what else there was.

    Dropped without mention are computed buffers and, of a tied model, its stored head.

    Raises:
        CheckpointError: two tensors would have one name.
    """
    found: dict[str, TensorInfo] = {}
    surplus: dict[str, list[TensorInfo]] = {}
    for info in tensors:
        part = _part_left_out(info.name, config)
        if part is not None:
            surplus.setdefault(part, []).append(info)
            continue
        name = text_name(info.name, config)
        if _COMPUTED.fullmatch(name) or (
            config.tie_word_embeddings and name.startswith("lm_head.")
        ):
            continue
        if name in found:
            raise CheckpointError(
                f"{info.name} and {found[name].name} are both the text model's {name}.",
                "The folder mixes two checkpoints; download it again.",
            )
        found[name] = info
    left_out = (LeftOut(p, len(i), sum(t.nbytes for t in i)) for p, i in surplus.items())
    return found, tuple(left_out)


def text_name(name: str, config: ModelConfig) -> str:
    """A tensor's name or a module's path without the prefix of a multimodal wrapper."""
    for prefix, own in _PREFIXES.get(config.model_type, {}).items():
        if name.startswith(prefix):
            return own + name[len(prefix) :]
        if f"{name}." == prefix:
            return own.removesuffix(".")
    return name


def _part_left_out(name: str, config: ModelConfig) -> str | None:
    parts = _LEFT_OUT.get(config.model_type, {})
    return next((part for prefix, part in parts.items() if name.startswith(prefix)), None)
