"""Whether a checkpoint with zero-centred norms was converted for MLX, its norms one-centred.

Hugging Face stores w for a factor of 1 + w; conversions for MLX store 1 + w itself. Adding one
twice, or not at all, gives a model that talks nonsense, and no norm shows which it is. The rest of
the layout does: MLX wants convolutions as (C, K, 1) and experts stacked in ``switch_mlp``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import UnsupportedModel
from ..model.config import ModelConfig
from .directory import Directory
from .safetensors import TensorInfo

_EXPERTS = re.compile(r"\.mlp\.experts\.(\d+\.|gate_up_proj|down_proj)")


def is_converted(
    directory: Directory, tensors: Mapping[str, TensorInfo], config: ModelConfig
) -> bool:
    """Decides by every sign there is.

    Raises:
        UnsupportedModel: signs contradict each other, or there is none.
    """
    converted: list[str] = []
    raw: list[str] = []
    for name, info in tensors.items():
        if name.endswith(".conv1d.weight") and len(info.shape) == 3:
            _, middle, last = info.shape
            if middle != last:
                (raw if middle == 1 else converted).append(name)
        elif ".switch_mlp." in name:
            converted.append(name)
        elif _EXPERTS.search(name):
            raw.append(name)
    if "mlx" in directory.formats:
        converted.append("the metadata `format: mlx`")
    if converted and raw:
        raise UnsupportedModel(
            f"{directory.path} looks converted for MLX by {converted[0]}, and unconverted by "
            f"{raw[0]}: whether its norms are centred on zero cannot be known.",
            "Use the original release, or convert it anew.",
        )
    if not converted and not raw and "pt" not in directory.formats:
        raise UnsupportedModel(
            f"{directory.path} shows by nothing whether the norms of this {config.model_type} "
            "are centred on zero.",
            "Use the original release, or convert it anew.",
        )
    return bool(converted)
