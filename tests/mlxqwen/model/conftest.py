"""Checkpoints and references of tests/golden, for the tests of the model."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

# Chips with reduced-precision matrix units would otherwise round float32 products to 10 bits.
os.environ.setdefault("MLX_ENABLE_TF32", "0")

import mlx.core as mx
import pytest

from mlxqwen.device import device

sys.path.insert(0, str(Path(__file__).parents[2] / "golden"))

if TYPE_CHECKING:
    from checkpoints import Case


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """(case, wide=False) -> its checkpoint folder, written once a session.

    wide: the same values in float32 files, for readers that compute in the dtype they find.
    """
    from checkpoints import write

    root = tmp_path_factory.mktemp("golden")
    # References are float32, so a device that computes in the dtype of the files gets wide ones.
    always_wide = device().compute_dtype(mx.bfloat16) != mx.float32

    def folder(case: Case, *, wide: bool = False) -> Path:
        wide |= always_wide
        path = root / f"{case.name}{'-wide' if wide else ''}"
        if not path.exists():
            write(case, path, wide=wide)
        return path

    return folder
