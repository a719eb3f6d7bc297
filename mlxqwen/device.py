"""What this machine computes on, decided once.

``memory_budget`` and ``total_memory`` need no MLX, so that plans can be made in a process that
never loads it; ``device()`` asks MLX.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import mlx.core as mx

Kind = Literal["metal", "cuda", "cpu"]

# Share of an Apple machine's memory that the GPU may wire: Metal's recommendedMaxWorkingSetSize is
# about two thirds up to 36 GB and three quarters above.
_WORKING_SET_SMALL, _WORKING_SET_LARGE, _WORKING_SET_STEP = 0.66, 0.75, 36 << 30


_CHUNK_CPU, _CHUNK_GPU = 256, 2048
_ROWS_PER_EXPERT, _MOST_SORTED_ROWS = 128, 32_768


@dataclass(frozen=True, slots=True)
class Device:
    """The processor that MLX uses here.

    Attributes:
        kind: Backend of MLX's default device.
        name: The chip as MLX names it.
    """

    kind: Kind
    name: str

    def compute_dtype(self, stored: mx.Dtype) -> mx.Dtype:
        """The dtype to compute in, for weights stored as ``stored``.

        MLX's CPU backend multiplies 4-bit matrices 8 times faster in float32 than in bfloat16
        and 40 times faster than in float16, so the CPU always computes in float32.
        """
        import mlx.core as mx

        return mx.float32 if self.kind == "cpu" else stored


def command_buffer_limits(chip: str) -> dict[str, str]:
    """MLX's settings for how much work goes into one Metal command buffer, for ``chip``.

    A decode step of a mixture of experts is many small kernels, and each further buffer costs some
    20 µs. More operations a buffer gave 5 to 13 % on M1 and M3 Ultra and nothing on M5, which
    keeps its default (lablup/mlxcel#353, #358, ml-explore/mlx#4521); more bytes were measured on
    Ultra chips alone.
    """
    words = chip.split()
    if len(words) < 2 or words[1] not in ("M1", "M2", "M3", "M4"):
        return {}
    limits = {"MLX_MAX_OPS_PER_BUFFER": "1000"}
    if words[-1] == "Ultra":
        limits["MLX_MAX_MB_PER_BUFFER"] = "400"
    return limits


@cache
def device() -> Device:
    """The device of MLX's default stream; decided on the first call.

    On a Mac it also sets what ``command_buffer_limits`` says, where the user set nothing; MLX reads
    that when it is first used.
    """
    if sys.platform == "darwin":
        for name, value in command_buffer_limits(_chip()).items():
            os.environ.setdefault(name, value)
    import mlx.core as mx

    if mx.default_device().type == mx.DeviceType.cpu:
        kind: Kind = "cpu"
    else:
        kind = "metal" if mx.metal.is_available() else "cuda"
    name = str(mx.device_info().get("device_name", kind))
    return Device(kind=kind, name=name)


def wire_memory() -> None:
    """Lets weights stay in memory between tokens, where the device can (Metal).

    Without it macOS may page them out, which took a 70B model from 4.7 to 0.23 tokens per second
    (ml-explore/mlx-examples#1069).
    """
    if device().kind == "metal":
        import mlx.core as mx

        mx.set_wired_limit(memory_budget())


@cache
def computes_in_float32() -> bool:
    """Whether MLX computes on the CPU here, hence in float32; answered without importing MLX."""
    if sys.platform == "darwin":
        return False
    names = (distribution.name for distribution in metadata.distributions())
    return not any(name.startswith("mlx-cuda") for name in names)


def prefill_chunk(chosen: int = 1, experts: int = 1) -> int:
    """Prompt tokens handed over at once, to a model that sends each to ``chosen`` of ``experts``.

    Small on the CPU, where a chunk of a large model takes seconds and cancelling waits for its end.
    On a GPU large enough that an expert gets 128 rows, for its weights are read once for all of
    them; and never so large that all experts' rows together exceed 32,768, beyond which the sorted
    kernel of M5 chips was seen to corrupt (ml-explore/mlx#3856).
    """
    if computes_in_float32():
        return _CHUNK_CPU
    wanted = max(_CHUNK_GPU, _ROWS_PER_EXPERT * experts // chosen)
    return min(wanted, _MOST_SORTED_ROWS // chosen // 64 * 64)


def _sysctl(name: str) -> str:
    """A value from macOS's sysctl; "" where the name does not exist."""
    command = ["/usr/sbin/sysctl", "-n", name]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _chip() -> str:
    """The processor's name, such as "Apple M3 Ultra"."""
    return _sysctl("machdep.cpu.brand_string")


@cache
def total_memory() -> int:
    """Physical memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cgroup_limit() -> int | None:
    """Memory limit of this Linux control group in bytes; None where there is none."""
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return int(text) if text.isdigit() else None


def _available_memory() -> int:
    """Memory that Linux can give without swapping, in bytes."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    return total_memory()


def memory_budget(held: int = 0) -> int:
    """Bytes that weights, cache and workspace may take together on this machine.

    On a Mac the GPU's working-set limit (``iogpu.wired_limit_mb`` where the user set one); on
    Linux what the kernel calls available, within the control group's limit.

    Args:
        held: Bytes of them that this process has taken already: on Linux what is available no
            longer contains those.
    """
    total = total_memory()
    if sys.platform == "darwin":
        wired = _sysctl("iogpu.wired_limit_mb")
        if wired.isdigit() and int(wired):
            return int(wired) << 20
        share = _WORKING_SET_SMALL if total <= _WORKING_SET_STEP else _WORKING_SET_LARGE
        return int(total * share)
    limit = _cgroup_limit()
    available = _available_memory() + held
    return min(available, limit) if limit is not None else available
