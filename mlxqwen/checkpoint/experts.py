"""Experts that lie joined in one tensor: ``experts.gate_up_proj`` and ``experts.down_proj``.

Transformers 5 stores (E, 2I, D) and (E, D, I), the products' own orientation; other writers store
both transposed, (E, D, 2I) and (E, I, D). Gate comes first, then up. A square tensor does not show
its orientation, but not both of a pair can be square, and both are oriented alike.
"""

from __future__ import annotations

from ..errors import CheckpointError, UnsupportedModel
from .origins import Plain, Transposed, View
from .safetensors import TensorInfo


def joined_experts(
    projection: str,
    sizes: tuple[int, int, int],
    gate_up: TensorInfo | None,
    down: TensorInfo | None,
) -> tuple[Plain | Transposed, ...]:
    """``projection`` (gate_proj, up_proj or down_proj) of each expert.

    Args:
        sizes: Experts E, their inner width I, the model's width D.

    Raises:
        CheckpointError: a shape that fits neither orientation.
        UnsupportedModel: an orientation that cannot be known, or differs between the two.
    """
    experts, inner, hidden = sizes
    transposed = _is_transposed(sizes, gate_up, down)
    info = down if projection == "down_proj" else gate_up
    assert info is not None
    start = inner if projection == "up_proj" else 0
    out, width = (hidden, inner) if projection == "down_proj" else (inner, hidden)
    if transposed:
        return tuple(Transposed(View(info, e), start, start + out) for e in range(experts))
    rows = (start, start + out)
    return tuple(Plain(View(info, e, rows), (out, width)) for e in range(experts))


def _is_transposed(
    sizes: tuple[int, int, int], gate_up: TensorInfo | None, down: TensorInfo | None
) -> bool:
    experts, inner, hidden = sizes
    possible = {False, True}
    for info, out, width in ((gate_up, 2 * inner, hidden), (down, hidden, inner)):
        if info is None:
            continue
        fits = {
            turned
            for turned in (False, True)
            if info.shape == (experts, *((width, out) if turned else (out, width)))
        }
        if not fits:
            raise CheckpointError(
                f"{info.path}: {info.name} has shape {list(info.shape)}, but config.json calls "
                f"for {[experts, out, width]} or {[experts, width, out]}.",
                "Check that config.json and the shards belong to the same model.",
            )
        possible &= fits
    if len(possible) != 1:
        info = gate_up or down
        name = info.name if info is not None else "experts"
        why = "square, so its orientation cannot be known" if possible else "at odds with its pair"
        raise UnsupportedModel(
            f"The checkpoint's {name} is {why}.",
            "Use a release with one tensor per expert, or an MLX conversion of this model.",
        )
    return possible.pop()
