"""Runs custom Metal kernels on the host, in place of ``mx.fast.metal_kernel``, and checks them.

A kernel's text is compiled as C++ together with ``shim.h`` and run by ``runtime.cpp``, which knows
every memory access. What it cannot see: Apple's compiler, register pressure, the last bits of
Apple's mathematics, time.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import mlx.core as mx
import numpy as np
from rewrite import host, require_inline, rewrite
from signature import Signature, Template
from toolchain import MetalError, compiled, runtime, source_line

_STEPS = 4_000_000_000
_THREADS = 1024

_ENTRY = """
#define EMU_OUTSIDE no_sanitize("thread"), no_sanitize("undefined")
extern "C" __attribute__((visibility("hidden"))) char __ehdr_start[], _end[];
extern "C" void emu_image(char** ends) {{ ends[0] = __ehdr_start; ends[1] = _end; }}
extern "C" __attribute__((EMU_OUTSIDE)) void emu_entry(void* const* b, const unsigned* a) {{
  {call}
}}
"""


class _Buffer(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("size", ctypes.c_uint64),
        ("kind", ctypes.c_int32),
    )


class _Report(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_char * 32),
        ("text", ctypes.c_char * 480),
        ("pc", ctypes.c_void_p),
        ("line", ctypes.c_int32),
        ("thread", ctypes.c_uint32 * 3),
        ("group", ctypes.c_uint32 * 3),
    )


_READ_ONLY, _OUTPUT, _FILLED_OUTPUT = range(3)


def _bytes(array: mx.array) -> bytes:
    if array.size == 0:
        return b""
    flat = mx.contiguous(array).reshape(-1)
    return np.array(flat.view(mx.uint16) if flat.dtype == mx.bfloat16 else flat).tobytes()


def _array(data: bytes, shape: Sequence[int], dtype: mx.Dtype) -> mx.array:
    carrier = mx.uint16 if dtype == mx.bfloat16 else dtype
    name = str(carrier).removeprefix("mlx.core.").removesuffix("_")
    return mx.array(np.frombuffer(data, dtype=name).reshape(*shape)).view(dtype)


@dataclass(frozen=True, slots=True)
class EmulatedKernel:
    """What ``Emulator`` makes of a kernel; called as MLX's own kernel objects are."""

    emulator: Emulator
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
        """Runs the kernel once per seed; the outputs must be the same to the last bit.

        Raises:
            MetalError: for whatever the runtime or the compiler objects to.
        """
        given = list(zip(self.input_names, inputs, strict=True))
        results = list(zip(self.output_names, output_dtypes, strict=True))
        if min(*grid, *threadgroup) < 1 or prod(threadgroup) > _THREADS:
            raise MetalError("launch", f"threadgroup {threadgroup} over grid {grid}")
        signature = Signature.of(self.name, given, results, self.source, template)
        library, path = compiled(self._text(signature))
        blocks: list[tuple[str, bytes, int]] = []
        for name, array in given:
            blocks.append((name, _bytes(array), _READ_ONLY))
            if not array.ndim:
                continue
            strides = [prod(array.shape[axis + 1 :]) for axis in range(array.ndim)]
            blocks += [
                (f"{name}_{what}", np.array(value, dtype=kind).tobytes(), _READ_ONLY)
                for what, value, kind in (
                    ("shape", array.shape, np.int32),
                    ("strides", strides, np.int64),
                    ("ndim", array.ndim, np.int32),
                )
                if f"{name}_{what}" in self.source
            ]
        first = len(blocks)
        for (name, dtype), shape in zip(results, output_shapes, strict=True):
            filled = mx.full(shape, 0 if init_value is None else init_value, dtype)
            kind = _OUTPUT if init_value is None else _FILLED_OUTPUT
            blocks.append((name, _bytes(filled), kind))
        runs = [
            self._run(library, path, blocks, grid, threadgroup, seed)[first:]
            for seed in self.emulator.seeds
        ]
        if any(run != runs[0] for run in runs):
            raise MetalError("schedule", "the outputs depend on the order in which threads run")
        return [
            _array(data, shape, dtype)
            for data, shape, dtype in zip(runs[0], output_shapes, output_dtypes, strict=True)
        ]

    def _text(self, signature: Signature) -> str:
        """The translation unit: header, function, entry."""
        require_inline(self.header)
        header = f'#line 1 "kernel_header"\n{rewrite(self.header, _no_declaration)}\n'
        body = f'#line 1 "kernel_source"\n{rewrite(self.source, host)}\n}}\n'
        return header + signature.text() + body + _ENTRY.format(call=signature.call())

    def _run(
        self,
        library: ctypes.CDLL,
        path: Path,
        blocks: Sequence[tuple[str, bytes, int]],
        grid: tuple[int, int, int],
        threadgroup: tuple[int, int, int],
        seed: int,
    ) -> list[bytes]:
        stores = [ctypes.create_string_buffer(data, max(len(data), 1)) for _, data, _ in blocks]
        buffers = (_Buffer * len(blocks))(
            *(
                _Buffer(name.encode(), ctypes.addressof(store), len(data), kind)
                for (name, data, kind), store in zip(blocks, stores, strict=True)
            )
        )
        ends = (ctypes.c_void_p * 2)()
        library.emu_image(ends)
        report = _Report()
        failed = runtime().emu_launch(
            library.emu_entry,
            ctypes.c_void_p(ends[0]),
            ctypes.c_void_p(ends[1]),
            buffers,
            len(blocks),
            (ctypes.c_uint32 * 3)(*grid),
            (ctypes.c_uint32 * 3)(*threadgroup),
            seed,
            ctypes.c_uint64(self.emulator.steps),
            self.emulator.seconds,
            ctypes.byref(report),
        )
        if failed:
            raise MetalError(report.kind.decode(), self._explained(report, path, ends[0] or 0))
        return [store.raw[: len(data)] for store, (_, data, _) in zip(stores, blocks, strict=True)]

    def _explained(self, report: _Report, path: Path, base: int) -> str:
        text = f"kernel '{self.name}': {report.text.decode()}"
        if report.line:
            text += f", at kernel_source:{report.line}"
        elif report.pc:
            text += f", at {source_line(path, report.pc - base - 1)}"
        if report.kind in (b"unwritten", b"launch"):
            return text
        return f"{text}, thread {tuple(report.thread)} of threadgroup {tuple(report.group)}"


def _no_declaration(number: int, kind: str, name: str, dimensions: str) -> str:
    raise MetalError("compile", f"threadgroup memory '{name}' may only be declared in the kernel")


@dataclass(frozen=True, slots=True)
class Emulator:
    """A stand-in for ``mx.fast.metal_kernel``.

    Args:
        seeds: One checked run per seed, each with its own order of threads.
        steps: Basic blocks that a launch may execute before it counts as endless.
        seconds: The same in processor time.
    """

    seeds: tuple[int, ...] = (1, 2, 3)
    steps: int = _STEPS
    seconds: int = 60

    def __call__(
        self,
        *,
        name: str,
        input_names: Sequence[str],
        output_names: Sequence[str],
        source: str,
        header: str = "",
    ) -> EmulatedKernel:
        """As ``mx.fast.metal_kernel``, for row-contiguous inputs and plain outputs."""
        return EmulatedKernel(self, name, tuple(input_names), tuple(output_names), source, header)
