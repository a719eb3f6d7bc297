"""Checks a kernel's types and address spaces with clang, which the emulator's compiler cannot do.

Metal's pointers belong to an address space and do not convert; here clang's own address spaces
stand for them. False alarm: a user's struct copied from or to device or threadgroup memory.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import mlx.core as mx
from rewrite import rewrite
from signature import Signature, Template
from toolchain import MetalError

HERE = Path(__file__).parent
_OLDEST, _NEWEST = 17, 30  # 17 is the first with arithmetic on __bf16
_FLAGS = "-fsyntax-only -std=gnu++17 -x c++ -w -include metal_as.h -I".split()


@cache
def clang() -> str | None:
    """A clang that knows ``__bf16``, by its own or a versioned name; None where there is none."""
    for name in ("clang", *(f"clang-{version}" for version in range(_NEWEST, _OLDEST - 1, -1))):
        path = shutil.which(name)
        if path is None:
            continue
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
        version = re.search(r"clang version (\d+)", said.stdout)
        if version and int(version[1]) >= _OLDEST and "Apple" not in said.stdout:
            return path
    return None


def _static(number: int, kind: str, name: str, dimensions: str) -> str:
    # A local variable may have an address space only where it is not on the stack.
    return f"static threadgroup {kind} {name}{dimensions}; "


@dataclass(frozen=True, slots=True)
class TypeChecker:
    """A stand-in for ``mx.fast.metal_kernel`` whose kernels are checked and not run."""

    def __call__(
        self,
        *,
        name: str,
        input_names: Sequence[str],
        output_names: Sequence[str],
        source: str,
        header: str = "",
    ) -> CheckedKernel:
        """As ``mx.fast.metal_kernel``."""
        return CheckedKernel(name, tuple(input_names), tuple(output_names), source, header)


@dataclass(frozen=True, slots=True)
class CheckedKernel:
    """A kernel whose call checks the types it would be compiled with, and returns zeros."""

    name: str
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    source: str
    header: str

    def __call__(
        self,
        *,
        inputs: Sequence[mx.array],
        output_shapes: Sequence[Sequence[int]],
        output_dtypes: Sequence[mx.Dtype],
        grid: tuple[int, int, int],
        threadgroup: tuple[int, int, int],
        template: Template = (),
        init_value: float | None = None,
    ) -> list[mx.array]:
        """Zeros of the outputs' shapes.

        Raises:
            MetalError: with clang's words, where the types do not fit.
        """
        given = list(zip(self.input_names, inputs, strict=True))
        results = list(zip(self.output_names, output_dtypes, strict=True))
        signature = Signature.of(self.name, given, results, self.source, template)
        instance = f"{signature.name}{signature.arguments}"
        text = (
            f'#line 1 "kernel_header"\n{self.header}\n{signature.text()}'
            f'#line 1 "kernel_source"\n{rewrite(self.source, _static)}\n}}\n'
            + (f"template decltype({instance}) {instance};\n" if template else "")
        )
        command = [str(clang()), *_FLAGS, str(HERE), "-"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MetalError("types", done.stderr[:4000])
        shapes = zip(output_shapes, output_dtypes, strict=True)
        return [mx.zeros(shape, dtype) for shape, dtype in shapes]
