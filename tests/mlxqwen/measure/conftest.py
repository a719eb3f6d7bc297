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
