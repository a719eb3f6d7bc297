"""What a machine is given, by its chip and memory."""

import subprocess
import sys

import pytest

from mlxqwen import device as module
from mlxqwen.device import command_buffer_limits, memory_budget


@pytest.mark.parametrize(
    ("chip", "names"),
    [
        ("Apple M1", {"MLX_MAX_OPS_PER_BUFFER"}),
        ("Apple M4 Max", {"MLX_MAX_OPS_PER_BUFFER"}),
        ("Apple M3 Ultra", {"MLX_MAX_OPS_PER_BUFFER", "MLX_MAX_MB_PER_BUFFER"}),
        ("Apple M5 Max", set()),
        ("AMD EPYC", set()),
        ("", set()),
    ],
)
def test_command_buffers_by_chip(chip: str, names: set[str]) -> None:
    assert set(command_buffer_limits(chip)) == names


@pytest.mark.parametrize(
    ("memory", "wired", "budget"),
    [(16, "0", 0.66 * 16), (64, "0", 0.75 * 64), (64, "57344", 56), (64, "", 0.75 * 64)],
)
def test_what_a_mac_gives_to_models(
    memory: int, wired: str, budget: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(module, "total_memory", lambda: memory << 30)
    monkeypatch.setattr(module, "_sysctl", lambda name: wired)
    assert memory_budget() == pytest.approx(budget * (1 << 30), rel=1e-6)


def test_limits_are_known_without_mlx() -> None:
    code = (
        "import sys; from mlxqwen.device import memory_budget; assert memory_budget() > 0;"
        "sys.exit('mlx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("chosen", "experts", "tokens"),
    [(1, 1, 2048), (8, 128, 2048), (8, 160, 2560), (10, 512, 3264), (16, 64, 2048)],
)
def test_chunks_on_a_gpu_suit_the_experts(
    chosen: int, experts: int, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "computes_in_float32", lambda: False)
    assert module.prefill_chunk(chosen, experts) == tokens
    assert tokens * chosen <= 32_768
