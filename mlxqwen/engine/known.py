"""What a released model holds and needs, without its files: its configuration fixes every tensor.

Files and memory differ. Files hold what is never loaded (a tied head stored all the same, the
``mtp`` layers of Qwen3-Next); memory holds some vectors wider, and on the CPU everything floating
in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from ..checkpoint.expected import expected_tensors, is_exact
from ..errors import UsageError
from ..hub.catalogue import KnownModel
from ..model.config import ModelConfig
from ..model.quantspec import QuantSpec

Tensor = tuple[str, tuple[int, ...]]

_GROUP = 64
_ROUTER = QuantSpec(8, _GROUP)
_STORED_WIDTH = 2  # bytes of a bfloat16


def released_tensors(known: KnownModel, config: ModelConfig) -> Iterator[Tensor]:
    """Name and shape of every tensor in the published files, experts stacked."""
    yield from expected_tensors(config)
    if "lm_head" in known.unloaded:
        yield "lm_head.weight", (config.vocab_size, config.hidden_size)
    if "mtp" in known.unloaded:
        yield from _prediction_layer(config)


def _prediction_layer(config: ModelConfig) -> Iterator[Tensor]:
    """``mtp.*``: one full-attention layer, and what joins embeddings and hidden state before it."""
    hidden = config.hidden_size
    whole = next(n for n in range(config.num_hidden_layers) if not config.is_linear(n))
    prefix = f"model.layers.{whole}."
    for name, shape in expected_tensors(config):
        if name.startswith(prefix):
            yield f"mtp.layers.0.{name.removeprefix(prefix)}", shape
    yield "mtp.fc.weight", (hidden, 2 * hidden)
    for name in ("norm", "pre_fc_norm_embedding", "pre_fc_norm_hidden"):
        yield f"mtp.{name}.weight", (hidden,)


def released_bytes(known: KnownModel, config: ModelConfig) -> int:
    """Bytes of those tensors, in bfloat16."""
    return _STORED_WIDTH * sum(prod(shape) for _, shape in released_tensors(known, config))


def quantised_bytes(config: ModelConfig, bits: int) -> int:
    """Bytes of the tensors that ``mlxqwen quantize --recipe fast --bits`` writes.

    The other recipes keep some matrices higher and come to up to half a bit per weight more.
    Raises as ``memory_sizes``.
    """
    return sum(
        _bytes(shape, _STORED_WIDTH, _spec(name, shape, bits))
        for name, shape in expected_tensors(config)
    )


def memory_sizes(config: ModelConfig, width: int, bits: int | None) -> dict[str, int]:
    """Bytes in memory by canonical name.

    Args:
        width: Bytes of a floating number in the dtype that is computed in.
        bits: Of the quantised form, with its routers in 8 bits; None is the unquantised one.

    Raises:
        UsageError: MLX has no matrices of so many bits.
    """
    return {
        name: _bytes(shape, 4 if is_exact(name, config) else width, _spec(name, shape, bits))
        for name, shape in expected_tensors(config)
    }


def _spec(name: str, shape: tuple[int, ...], bits: int | None) -> QuantSpec | None:
    inputs = shape[-1] if len(shape) > 1 and name.endswith(".weight") else 1
    # A convolution's last axis is 1, a vector has no inputs: neither is a matrix to MLX.
    if bits is None or inputs % _GROUP:
        return None
    if name.endswith((".mlp.gate.weight", ".mlp.shared_expert_gate.weight")):
        return _ROUTER
    try:
        return QuantSpec(bits, _GROUP)
    except ValueError as error:
        raise UsageError(
            f"MLX has no matrices of {bits} bits.", "Plan for 2, 3, 4, 5, 6 or 8 bits."
        ) from error


def _bytes(shape: tuple[int, ...], width: int, spec: QuantSpec | None) -> int:
    count = prod(shape)
    if spec is None:
        return count * width
    # A scale and a bias for each group.
    return count * spec.bits // 8 + count // spec.group_size * 2 * width
