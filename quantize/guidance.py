"""What calibration learnt about a checkpoint, for the rounding to use.

Both kinds are optional and by module: how strongly each input of a matrix is driven, and scales and
biases that were learned for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import mlx.core as mx


@dataclass(frozen=True, slots=True)
class Guidance:
    """Attributes by canonical module path (``model.layers.0.mlp.switch_mlp.up_proj``).

    Attributes:
        identity: SHA-256 in hex of everything below: a resumed run must find the same.
        importance: Mean square of each input channel on calibration text, float32: ``(in,)``, or
            ``(E, in)`` for stacked experts.
        affine: Learned ``(scales, biases)`` in the shapes of ``mx.quantize``, for the codes that
            rounding finds with that importance.
    """

    identity: str = ""
    importance: Mapping[str, mx.array] = field(default_factory=dict[str, mx.array])
    affine: Mapping[str, tuple[mx.array, mx.array]] = field(
        default_factory=dict[str, tuple[mx.array, mx.array]]
    )

    def weights_of(self, module: str, per_expert: int, start: int, stop: int) -> mx.array | None:
        """How much each input counts in rows ``start`` to ``stop``, ``(1 or rows, in)``.

        Args:
            per_expert: Rows of one expert's matrix; of any other tensor all its rows.
        """
        importance = self.importance.get(module)
        if importance is None:
            return None
        if importance.ndim == 1:
            return importance[None]
        return importance[mx.arange(start, stop) // per_expert]

    def affine_of(self, module: str, start: int, stop: int) -> tuple[mx.array, mx.array] | None:
        """The learned scales and biases of rows ``start`` to ``stop``, each ``(rows, groups)``."""
        learned = self.affine.get(module)
        if learned is None:
            return None
        scales, biases = (part.reshape(-1, part.shape[-1])[start:stop] for part in learned)
        return scales, biases


NO_GUIDANCE = Guidance()
