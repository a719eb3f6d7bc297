from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlxqwen.measure.machine import BACKENDS, NEEDED, Machine, Mlx


@pytest.fixture
def mac(tmp_path: Path) -> Machine:
    """A Mac on which nothing is wrong."""
    packages: dict[str, str | None] = dict.fromkeys(NEEDED, "1.0")
    packages |= dict.fromkeys(BACKENDS) | {"mlx-metal": "0.32.4"}
    return Machine(
        system="Darwin",
        release="15.1",
        architecture="arm64",
        apple_silicon=True,
        translated=False,
        chip="Apple M3 Max",
        python=(3, 12, 4),
        executable=tmp_path / "python3",
        memory=64 << 30,
        budget=48 << 30,
        folder=tmp_path / "models",
        free=500 * 10**9,
        hub_cache=tmp_path,
        models=("guide", "Qwen/Qwen3-4B"),
        packages=packages,
        mlx=Mlx("0.32.4", "metal", "Apple M3 Max", 1e-6),
        terminal={"TERM": "xterm-256color", "COLORTERM": "truecolor", "TERM_PROGRAM": "ghostty"},
        is_terminal=True,
    )


@pytest.fixture
def mac_with(mac: Machine) -> Callable[..., Machine]:
    """The same Mac with some facts changed."""

    def changed(**facts: Any) -> Machine:
        return replace(mac, **facts)

    return changed


_COMMON: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 300,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 1024,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "eos_token_id": 0,
}
_SPARSE: dict[str, Any] = {
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "norm_topk_prob": True,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
_HYBRID: dict[str, Any] = {
    "num_hidden_layers": 4,
    "full_attention_interval": 4,
    "partial_rotary_factor": 0.25,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
    "shared_expert_intermediate_size": 64,
    "hidden_act": "silu",
}


@pytest.fixture
def tiny_configs() -> dict[str, dict[str, Any]]:
    """A configuration of each architecture whose launches differ, by ``model_type``.

    The widths of heads are those that Metal's fused kernels take; everything else is small.
    """
    return {
        "qwen3": _COMMON | {"model_type": "qwen3"},
        "qwen3_moe": _COMMON | _SPARSE | {"model_type": "qwen3_moe"},
        "qwen3_next": _COMMON | _SPARSE | _HYBRID | {"model_type": "qwen3_next"},
    }
