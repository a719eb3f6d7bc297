"""Facts about this machine, read once into a record that ``doctor`` judges."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

from ..device import memory_budget, total_memory
from ..hub.library import local_models
from ..hub.places import hub_cache, models_folder

#: Distributions that a working installation has.
NEEDED = (
    "mlx",
    "mlx-lm",
    "tokenizers",
    "jinja2",
    "huggingface-hub",
    "textual",
    "typer",
    "rich",
    "platformdirs",
)
#: MLX's backends: separate distributions, of which a machine has one.
BACKENDS = ("mlx-metal", "mlx-cpu", "mlx-cuda", "mlx-cuda-12", "mlx-cuda-13")

_TERMINAL = ("TERM", "TERM_PROGRAM", "COLORTERM", "NO_COLOR")
_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Mlx:
    """What loading MLX in a process of its own gave.

    Attributes:
        error: Why it cannot be used; "" where it can.
        backend: ``metal``, ``cuda`` or ``cpu``; "" on error.
        product_error: Largest relative error of a small 4-bit matrix product.
    """

    version: str = ""
    backend: str = ""
    device: str = ""
    product_error: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as far as this program cares.

    Attributes:
        system: ``Darwin`` or ``Linux``, as Python's ``platform`` names it.
        release: Version of macOS, or the name of the Linux distribution.
        architecture: Processor that this Python is built for (``arm64``, ``x86_64``).
        apple_silicon: The processor is Apple's, whatever Python is built for.
        translated: This Python runs under Rosetta.
        chip: Name of the processor.
        python: Version of Python.
        executable: The Python that runs.
        memory: Physical memory in bytes.
        budget: Bytes that a model may take.
        folder: Our folder of models.
        free: Bytes free on the disk of ``folder``.
        hub_cache: Where the Hugging Face hub keeps its files.
        models: Names of the models found here, the built-in one among them.
        packages: Distribution to version; None where it is absent.
        mlx: What loading MLX gave.
        terminal: Environment variables that describe the terminal.
        is_terminal: Standard output is a terminal.
    """

    system: str
    release: str
    architecture: str
    apple_silicon: bool
    translated: bool
    chip: str
    python: tuple[int, int, int]
    executable: Path
    memory: int
    budget: int
    folder: Path
    free: int
    hub_cache: Path
    models: tuple[str, ...]
    packages: Mapping[str, str | None]
    mlx: Mlx
    terminal: Mapping[str, str]
    is_terminal: bool

    @classmethod
    def here(cls) -> Self:
        """Reads the machine that this runs on; takes as long as importing MLX does."""
        mac = sys.platform == "darwin"
        return cls(
            system=platform.system(),
            release=_mac_release() if mac else _linux_release(),
            architecture=platform.machine(),
            apple_silicon=mac and _sysctl("hw.optional.arm64") == "1",
            translated=mac and _sysctl("sysctl.proc_translated") == "1",
            chip=_sysctl("machdep.cpu.brand_string") if mac else _linux_chip(),
            python=sys.version_info[:3],
            executable=Path(sys.executable),
            memory=total_memory(),
            budget=memory_budget(),
            folder=models_folder(),
            free=shutil.disk_usage(existing(models_folder())).free,
            hub_cache=hub_cache(),
            models=tuple(model.name for model in local_models()),
            packages={name: _version(name) for name in (*NEEDED, *BACKENDS)},
            mlx=probe_mlx(),
            terminal={name: os.environ[name] for name in _TERMINAL if name in os.environ},
            is_terminal=sys.stdout.isatty(),
        )


def probe_mlx(command: tuple[str, ...] = ("-m", "mlxqwen.measure.probe")) -> Mlx:
    """Loads MLX in a child process; whatever happens to it there becomes ``Mlx.error``."""
    try:
        done = subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Mlx(error=f"loading it took more than {_SECONDS:.0f} seconds")
    if done.returncode < 0:
        return Mlx(error=f"loading it ended the process with signal {-done.returncode}")
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        said = [line for line in done.stderr.strip().splitlines() if line.strip()]
        return Mlx(error=said[-1].strip() if said else f"exit status {done.returncode}")
    facts: dict[str, Any] = json.loads(lines[-1])
    return Mlx(
        version=str(facts["version"]),
        backend=str(facts["backend"]),
        device=str(facts["device"]),
        product_error=float(facts["product_error"]),
    )


def existing(path: Path) -> Path:
    """``path``, or the nearest folder above it that exists."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _sysctl(name: str) -> str:
    """A value of macOS's sysctl as text; "" where the name does not exist."""
    done = subprocess.run(
        ["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def _mac_release() -> str:
    """The version of macOS, even to a Python so old that macOS calls itself 10.16 to it."""
    done = subprocess.run(
        ["/usr/bin/sw_vers", "-productVersion"],
        capture_output=True,
        text=True,
        check=False,
        env={"SYSTEM_VERSION_COMPAT": "0"},
    )
    return done.stdout.strip() or platform.mac_ver()[0]


def _linux_release() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.release())
    except OSError:
        return platform.release()


def _linux_chip() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
