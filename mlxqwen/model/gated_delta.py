"""The gated delta net of Qwen3-Next and its successors (Yang et al. 2024, arXiv 2412.06464).

Per value head a state S (Dv, Dk) is decayed, corrected towards the new value by the delta rule, and
read: ``S ← γS``, ``S ← S + β(v - Sk)kᵀ``, ``o = Sq``. Queries, keys and values first pass a short
causal convolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from .cache import DeltaState, LayerState
from .config import DeltaConfig, ModelConfig
from .linear import Projection, Rows, fuse
from .params import Params
from .step import Step

# Added to the sum of squares where queries and keys are brought to length one.
_L2_EPS = 1e-6


@dataclass(frozen=True, slots=True)
class GatedDelta:
    """One layer's gated delta net; all input projections are one matrix [q | k | v | z | b | a].

    ``conv1d`` (C, K, 1); ``decay`` is -exp(A_log) (Hv,), and it, ``dt_bias`` (Hv,) and ``norm``
    (Dv,) are float32.
    """

    in_proj: Projection
    conv1d: mx.array
    decay: mx.array
    dt_bias: mx.array
    norm: mx.array
    out_proj: Projection
    delta: DeltaConfig
    eps: float

    @classmethod
    def build(cls, config: ModelConfig, params: Params, path: str) -> GatedDelta:
        """Takes the layer's tensors under ``path`` (``model.layers.N.linear_attn``)."""
        delta = config.delta
        assert delta is not None
        width, heads = config.hidden_size, (delta.num_value_heads,)
        grouped = _grouped_rows if delta.grouped else _flat_rows
        return cls(
            in_proj=fuse(grouped(delta, params, path, width)),
            conv1d=params.take(f"{path}.conv1d.weight", (delta.conv_dim, delta.conv_kernel_dim, 1)),
            decay=-mx.exp(params.take_exact(f"{path}.A_log", heads)),
            dt_bias=params.take_exact(f"{path}.dt_bias", heads),
            norm=params.take_exact(f"{path}.norm.weight", (delta.value_head_dim,)),
            out_proj=params.linear(f"{path}.out_proj", width, delta.value_dim),
            delta=delta,
            eps=config.rms_norm_eps,
        )

    def __call__(self, x: mx.array, state: LayerState | None, step: Step) -> mx.array:
        """``(B, L, D) -> (B, L, D)``; None for ``state`` begins with nothing remembered."""
        assert state is None or isinstance(state, DeltaState)
        if step.real is not None:
            # Zeros leave the convolution and the state as if the padding were not there.
            x = mx.where(step.real, x, 0)
        delta = self.delta
        batch, length, _ = x.shape
        qkv, z, b, a = mx.split(
            self.in_proj(x),
            [
                delta.conv_dim,
                delta.conv_dim + delta.value_dim,
                delta.conv_dim + delta.value_dim + delta.num_value_heads,
            ],
            axis=-1,
        )
        q, k, v = mx.split(self._convolve(qkv, state), [delta.key_dim, 2 * delta.key_dim], axis=-1)
        # (B, L, H·D) -> (B, L, H, D)
        q = _unit(q.reshape(batch, length, delta.num_key_heads, delta.key_head_dim))
        k = _unit(k.reshape(batch, length, delta.num_key_heads, delta.key_head_dim))
        v = v.reshape(batch, length, delta.num_value_heads, delta.value_head_dim)
        gamma = mx.exp(self.decay * softplus(a.astype(mx.float32) + self.dt_bias))
        out, recurrent = mx.fast.gated_delta_update(
            q.astype(mx.float32) * delta.key_head_dim**-0.5,
            k.astype(mx.float32),
            v.astype(mx.float32),
            gamma,
            mx.sigmoid(b.astype(mx.float32)),
            None if state is None else state.recurrent,
        )
        if state is not None:
            state.recurrent = recurrent
        z = z.reshape(batch, length, delta.num_value_heads, delta.value_head_dim)
        z = z.astype(mx.float32)
        out = mx.fast.rms_norm(out, self.norm, self.eps) * (z * mx.sigmoid(z))
        # (B, L, Hv, Dv) -> (B, L, Hv·Dv)
        return self.out_proj(out.astype(x.dtype).reshape(batch, length, delta.value_dim))

    def _convolve(self, qkv: mx.array, state: DeltaState | None) -> mx.array:
        """Causal depthwise convolution and silu, ``(B, L, C) -> (B, L, C)``; moves the state on."""
        kept = self.delta.conv_kernel_dim - 1
        before = None if state is None else state.convolution
        if before is None:
            before = mx.zeros((qkv.shape[0], kept, qkv.shape[2]), qkv.dtype)
        window = mx.concatenate([before, qkv], axis=1)  # (B, K - 1 + L, C)
        if state is not None:
            state.convolution = mx.contiguous(window[:, window.shape[1] - kept :])
        out = mx.conv1d(window, self.conv1d, groups=self.delta.conv_dim)
        return out * mx.sigmoid(out)


def softplus(x: mx.array) -> mx.array:
    """log(1 + eˣ) without overflow."""
    return mx.logaddexp(x, 0.0)


def _unit(x: mx.array) -> mx.array:
    """``x / sqrt(Σx² + ε)`` over the last axis, in float32.

    The epsilon is on the sum of squares, so on their mean it is divided by the width.
    """
    width = x.shape[-1]
    return mx.fast.rms_norm(x.astype(mx.float32), None, _L2_EPS / width) * width**-0.5


def _flat_rows(delta: DeltaConfig, params: Params, path: str, width: int) -> list[Rows]:
    """Qwen3.5: q, k and v in one matrix, z, b and a in one each."""
    outs = {
        "in_proj_qkv": delta.conv_dim,
        "in_proj_z": delta.value_dim,
        "in_proj_b": delta.num_value_heads,
        "in_proj_a": delta.num_value_heads,
    }
    return [params.rows(f"{path}.{name}", out, width) for name, out in outs.items()]


def _grouped_rows(delta: DeltaConfig, params: Params, path: str, width: int) -> list[Rows]:
    """Qwen3-Next: rows per key head [q | k | v…v | z…z] and [b…b | a…a], put in flat order.

    A key head serves consecutive value heads, so flat order keeps the value heads' numbers.
    """
    ratio = delta.num_value_heads // delta.num_key_heads
    values = ratio * delta.value_head_dim
    key = delta.key_head_dim
    qkvz = params.rows(f"{path}.in_proj_qkvz", delta.conv_dim + delta.value_dim, width)
    ba = params.rows(f"{path}.in_proj_ba", 2 * delta.num_value_heads, width)
    return [
        qkvz.reordered(_ungrouped(delta.num_key_heads, (key, key, values, values))),
        ba.reordered(_ungrouped(delta.num_key_heads, (ratio, ratio))),
    ]


def _ungrouped(groups: int, sizes: tuple[int, ...]) -> mx.array:
    """Row order that turns ``groups`` of consecutive parts into parts of consecutive groups."""
    rows = mx.arange(groups * sum(sizes)).reshape(groups, sum(sizes))
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes) - 1)]
    return mx.concatenate([part.flatten() for part in mx.split(rows, ends, axis=1)])
