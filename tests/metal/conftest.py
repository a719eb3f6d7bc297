"""Kernels run here by the emulator, or on a Mac by Metal itself, through the same tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import pytest

from mlxqwen.model.kernels.make import Factory, built_by, metal

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))

from emulator import Emulator
from toolchain import compiler


@pytest.fixture
def emulator() -> Emulator:
    """The emulator on Linux; its own tests have nothing to say where Metal runs."""
    if sys.platform != "linux":
        pytest.skip("the emulator is for Linux; here the kernels run on Metal itself")
    if compiler() is None:
        pytest.skip("no C++ compiler (g++ or clang++) on this machine")
    return Emulator()


@pytest.fixture(params=["metal" if mx.metal.is_available() else "emulator"])
def kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    """Lets every kernel of the product be built by Metal where there is one, else emulated."""
    factory: Factory = metal
    if request.param == "emulator":
        factory = request.getfixturevalue("emulator")
    with built_by(factory):
        yield
