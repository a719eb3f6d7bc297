"""Compiles the emulator's runtime and the kernels, once for each text and compiler."""

from __future__ import annotations

import ctypes
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import platformdirs

HERE = Path(__file__).parent
# The runtime defines what the sanitisers call; their libraries are not linked. Uninitialised locals
# take an absurd value.
_FLAGS = (
    "-std=gnu++14 -O1 -g1 -fPIC -w -ffp-contract=off -fno-math-errno "
    "-ftrivial-auto-var-init=pattern -fsanitize-coverage=trace-pc -fsanitize=thread -fsanitize="
    "bounds,shift,signed-integer-overflow,integer-divide-by-zero,float-cast-overflow,alignment,bool"
).split()
_RUNTIME_FLAGS = "-std=c++17 -O2 -fPIC -shared".split()


class MetalError(Exception):
    """A kernel did what Metal forbids or leaves undefined; ``kind`` names it in a word or two."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind = kind


@cache
def compiler() -> str | None:
    """The C++ compiler used: g++, which reads ``1.0`` as a float as Metal does, or clang++."""
    return shutil.which("g++") or shutil.which("clang++")


@cache
def _compiler_version() -> str:
    return subprocess.run(
        [str(compiler()), "--version"], capture_output=True, text=True, check=True
    ).stdout


def _built(command: Sequence[str], text: str, parts: Sequence[Path]) -> Path:
    """A shared object made by ``command`` (its output file is appended), kept from run to run."""
    state = [_compiler_version(), *command, text, *(part.read_text() for part in parts)]
    key = hashlib.sha256("\0".join(state).encode()).hexdigest()[:32]
    folder = Path(platformdirs.user_cache_dir("mlxqwen-tests")) / "metal"
    made = folder / f"{key}.so"
    if not made.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            unit, partial = Path(scratch) / "kernel.o", Path(scratch) / "kernel.so"
            shared = "-shared" in command
            first = [*command, "-o", str(partial if shared else unit)]
            done = subprocess.run(first, input=text, capture_output=True, text=True, check=False)
            if done.returncode:
                raise MetalError("compile", done.stderr[:4000])
            if not shared:  # linked apart from compiling: without the sanitisers' libraries
                link = [command[0], "-shared", "-o", str(partial), str(unit), "-lm"]
                subprocess.run(link, check=True)
            partial.replace(made)
    return made


@cache
def runtime() -> ctypes.CDLL:
    sources = [HERE / name for name in ("runtime.cpp", "memory.h", "fibers.h", "callbacks.h")]
    command = [str(compiler()), *_RUNTIME_FLAGS, str(sources[0])]
    # Global, because the kernels' callbacks are looked up in it when they are loaded.
    return ctypes.CDLL(str(_built(command, "", sources)), mode=ctypes.RTLD_GLOBAL)


@cache
def compiled(text: str) -> tuple[ctypes.CDLL, Path]:
    runtime()
    flags = [*_FLAGS, "-I", str(HERE), "-include", "shim.h", "-x", "c++", "-c", "-"]
    if "clang" not in _compiler_version():
        flags.insert(0, "-fsingle-precision-constant")
    path = _built([str(compiler()), *flags], text, [HERE / "shim.h", HERE / "shim_functions.h"])
    return ctypes.CDLL(str(path)), path


def source_line(path: Path, offset: int) -> str:
    """The line of the kernel at ``offset`` in its shared object, seen through inlined functions."""
    tool = shutil.which("addr2line")
    if tool is None:
        return f"offset {offset:#x} (no addr2line here to name the line)"
    found = subprocess.run(
        [tool, "-i", "-e", str(path), hex(offset)], capture_output=True, text=True, check=True
    )
    lines = re.findall(r"(kernel_(?:source|header):\d+)", found.stdout)
    return lines[0] if lines else "an unknown line"
