"""Which quantisation each matrix gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from mlxqwen.checkpoint.quantspec import Mode, QuantSpec
from mlxqwen.errors import UsageError
from mlxqwen.model.quantspec import COMBINATIONS

# Bits and group size where only the mode is given: those of mlx_lm.convert.
_MODE_DEFAULTS: dict[Mode, tuple[int, int]] = {
    "affine": (4, 64),
    "mxfp4": (4, 32),
    "mxfp8": (8, 32),
    "nvfp4": (4, 16),
}

# A wrongly rounded router sends tokens to other experts, which costs far more than its bytes.
_ROUTER = QuantSpec(8, 64)


@dataclass(frozen=True, slots=True)
class Recipe:
    """One spec for every matrix, embeddings and head included, and one for the MoE routers."""

    name: str
    default: QuantSpec
    router: QuantSpec

    def spec(self, module: str, width: int) -> QuantSpec | None:
        """The spec of a module of that input width; None where a group does not divide it.

        A router must suit the default's group too: so does mlx_lm.convert decide.
        """
        router = module.endswith((".mlp.gate", ".mlp.shared_expert_gate"))
        spec = self.router if router else self.default
        if width % self.default.group_size or width % spec.group_size:
            return None
        return spec


FAST = Recipe("fast", QuantSpec(4, 64), _ROUTER)


def choose_recipe(
    bits: int | None = None, group_size: int | None = None, mode: str = "affine"
) -> Recipe:
    """The recipe ``fast`` with other bits, group size or mode; None takes the mode's default.

    Raises:
        UsageError: MLX has no such combination; the message lists what it has.
    """
    known: Mode | None = next((m for m in get_args(Mode) if m == mode), None)
    if known is None:
        raise UsageError(f"There is no mode {mode!r}.", f"Choose {', '.join(get_args(Mode))}.")
    default_bits, default_group = _MODE_DEFAULTS[known]
    chosen = (
        default_bits if bits is None else bits,
        default_group if group_size is None else group_size,
    )
    if chosen not in COMBINATIONS[known]:
        widths = sorted({b for b, _ in COMBINATIONS[known]})
        groups = sorted({g for _, g in COMBINATIONS[known]})
        raise UsageError(
            f"MLX has no {known} quantisation with {chosen[0]} bits in groups of {chosen[1]}.",
            f"It has bits {', '.join(map(str, widths))} and groups {', '.join(map(str, groups))}.",
        )
    return Recipe("fast", QuantSpec(*chosen, known), _ROUTER)
