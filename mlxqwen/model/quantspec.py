"""How one matrix is quantised: width, group and mode. Free of MLX, so that plans need no device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Mode = Literal["affine", "mxfp4", "mxfp8", "nvfp4"]

MODES: tuple[Mode, ...] = get_args(Mode)

# (bits, group size) pairs that ``mx.quantize`` and the quantised kernels of MLX 0.32 accept.
COMBINATIONS: Mapping[Mode, frozenset[tuple[int, int]]] = {
    "affine": frozenset((bits, group) for bits in (1, 2, 3, 4, 5, 6, 8) for group in (32, 64, 128)),
    "mxfp4": frozenset({(4, 32)}),
    "mxfp8": frozenset({(8, 32)}),
    "nvfp4": frozenset({(4, 16)}),
}


@dataclass(frozen=True, slots=True)
class QuantSpec:
    """One matrix's quantisation.

    Args:
        bits: Bits of one packed weight.
        group_size: Consecutive weights along the input axis that share one scale.
        mode: ``affine`` stores a scale and a bias per group in the model's dtype; ``mxfp4``,
            ``mxfp8`` and ``nvfp4`` store one scale byte per group and no bias.

    Raises:
        ValueError: MLX has no such combination.
    """

    bits: int
    group_size: int
    mode: Mode = "affine"

    def __post_init__(self) -> None:
        if (self.bits, self.group_size) not in COMBINATIONS.get(self.mode, frozenset()):
            raise ValueError(
                f"no {self.mode} quantisation with {self.bits} bits in groups of {self.group_size}"
            )

    @property
    def has_biases(self) -> bool:
        """Whether a group stores a bias beside its scale."""
        return self.mode == "affine"
