"""Judges a machine: what is there, what is wrong, and what to do about it.

Needs no MLX: it must work above all where MLX cannot be loaded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from ..device import command_buffer_limits
from ..hub.places import kernel_record
from ..model.verdicts import verdicts
from .machine import BACKENDS, NEEDED, Machine, existing

State = Literal["ok", "note", "problem"]

# MLX's wheels for Apple Silicon are built for macOS 14 and later.
_OLDEST_MACOS = (14,)
_OLDEST_PYTHON = (3, 11)
# As everyone counts them: memory in powers of two, disks in powers of ten.
_MEMORY_GB, _DISK_GB = 1 << 30, 10**9
# A 30B-A3B in 4 bits takes 17 GB; a 4B takes 2.3.
_LITTLE_MEMORY, _LITTLE_DISK = 8 * _MEMORY_GB, 20 * _DISK_GB
_TOLERANCE = 1e-2


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What it is.
        value: What was found.
        state: ``ok``; ``note`` is worth knowing; ``problem`` keeps the program from running well.
        remedy: What to do; "" where there is nothing to do.
    """

    name: str
    value: str
    state: State = "ok"
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was looked at, in the order in which to read it."""

    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        """Whether nothing is a problem."""
        return all(finding.state != "problem" for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """``{"healthy": …, "findings": [{"name", "value", "state", "remedy"}, …]}``."""
        return {"healthy": self.healthy, "findings": [asdict(one) for one in self.findings]}


def examine(
    machine: Machine | None = None, *, store: Path | None = None, record: Path | None = None
) -> Report:
    """Looks at ``machine``, by default the one this runs on.

    Args:
        store: The file that conversations are kept in, where there is one.
        record: The file with the verdicts on fused kernels; by default this user's.
    """
    here = machine if machine is not None else Machine.here()
    findings = [_system(here), _processor(here), _python(here), *_mlx(here)]
    findings += _command_buffers(here)
    findings += _kernels(here, kernel_record() if record is None else record)
    findings += [_memory(here), _disk(here), _libraries(here), _models(here), _hub(here)]
    if store is not None:
        findings.append(_store(store))
    findings.append(_terminal(here))
    return Report(tuple(findings))


def _system(here: Machine) -> Finding:
    if here.system == "Darwin":
        value = f"macOS {here.release}"
        if _numbers(here.release) < _OLDEST_MACOS:
            return Finding(
                "system",
                value,
                "problem",
                "MLX needs macOS 14.0 or later: System Settings → General → Software Update.",
            )
        return Finding("system", value)
    if here.system == "Linux":
        return Finding(
            "system",
            here.release,
            "note",
            "mlxqwen is made for Apple Silicon; Linux serves small models and development.",
        )
    return Finding(
        "system", f"{here.system} {here.release}", "problem", "mlxqwen runs on macOS and Linux."
    )


def _processor(here: Machine) -> Finding:
    if here.system == "Darwin" and not here.apple_silicon:
        return Finding(
            "processor",
            here.chip,
            "problem",
            "MLX runs on Apple Silicon (M1 and later) only; on this Intel Mac there is no remedy.",
        )
    return Finding("processor", here.chip)


def _python(here: Machine) -> Finding:
    value = f"{'.'.join(map(str, here.python))} for {here.architecture} at {here.executable}"
    if here.system == "Darwin" and here.apple_silicon and here.architecture != "arm64":
        how = "under Rosetta" if here.translated else "for Intel"
        return Finding(
            "Python",
            f"{value}, {how}",
            "problem",
            "This Python is built for Intel, and MLX is not: install one for Apple Silicon "
            "(`uv python install 3.13`, or the installer from python.org; a Homebrew below "
            "/usr/local is an Intel one too), then make a new venv with it.",
        )
    if here.python[:2] < _OLDEST_PYTHON:
        return Finding("Python", value, "problem", "mlxqwen needs Python 3.11 or later.")
    return Finding("Python", value)


def _mlx(here: Machine) -> Iterator[Finding]:
    backends = [name for name in BACKENDS if here.packages.get(name)]
    if here.mlx.error:
        yield Finding("MLX", f"cannot be loaded: {here.mlx.error}", "problem", _reload(here))
        return
    yield Finding("MLX", f"{here.mlx.version} on {here.mlx.backend}")
    if "mlx-cpu" in backends and any(name.startswith("mlx-cuda") for name in backends):
        yield Finding(
            "MLX backends",
            ", ".join(backends),
            "problem",
            "The CPU and the CUDA backend overwrite each other: `pip uninstall mlx-cpu`, then "
            "install the CUDA one again.",
        )
    expects_metal = here.system == "Darwin" and here.apple_silicon
    if expects_metal and here.mlx.backend != "metal":
        yield Finding(
            "device",
            f"{here.mlx.device}, without Metal",
            "problem",
            "MLX finds no GPU. In a virtual machine there is none; else `pip install "
            "--force-reinstall mlx mlx-metal`.",
        )
    else:
        yield Finding("device", here.mlx.device)
    # Written so that a NaN counts as wrong.
    if not here.mlx.product_error <= _TOLERANCE:
        yield Finding(
            "arithmetic",
            f"a 4-bit product is off by {here.mlx.product_error:.3g}",
            "problem",
            "MLX computes wrongly on this machine: `pip install --force-reinstall mlx`, and "
            "report it if that changes nothing.",
        )
    else:
        yield Finding("arithmetic", f"a 4-bit product is off by {here.mlx.product_error:.1e}")


def _reload(here: Machine) -> str:
    if here.system == "Darwin" and not here.apple_silicon:
        return "MLX has no build for Intel Macs."
    if here.system == "Darwin" and here.architecture != "arm64":
        return "It has no build for an Intel Python; see the remedy for Python."
    if here.system == "Darwin" and _numbers(here.release) < _OLDEST_MACOS:
        return "It has no build for this macOS; see the remedy for the system."
    if here.packages.get("mlx") is None:
        return "Install mlxqwen again: `pip install .` in its folder."
    if here.system == "Linux" and not any(here.packages.get(name) for name in BACKENDS):
        return "MLX has no backend here: `pip install 'mlx[cpu]'`."
    return "Install it again: `pip install --force-reinstall mlx`."


def _command_buffers(here: Machine) -> Iterator[Finding]:
    if here.mlx.backend != "metal":
        return
    limits = command_buffer_limits(here.chip)
    told = ", ".join(f"{name}={value}" for name, value in limits.items())
    value = told or "MLX's own limits, which are best on this chip"
    yield Finding(
        "command buffers", f"{value}; wired memory up to {here.budget / _MEMORY_GB:.1f} GB"
    )


def _kernels(here: Machine, record: Path) -> Iterator[Finding]:
    """What trials of fused kernels found, for each model that has been loaded here."""
    if here.mlx.backend != "metal":
        return
    known = verdicts(record)
    if not known:
        yield Finding("kernels", "not tried yet: the first model that is loaded tries them")
    for key, verdict in known.items():
        chip, _, kind, *_ = key.split(" | ")
        times = ""
        if verdict.plain_us is not None and verdict.fused_us is not None:
            times = f", {verdict.fused_us:.0f} µs against {verdict.plain_us:.0f} µs"
        use = "used" if verdict.used else "not used"
        value = f"{verdict.part} of {kind} on {chip}: {use}, {verdict.why}{times}"
        yield Finding("kernels", value, "ok" if verdict.used else "note")


def _memory(here: Machine) -> Finding:
    total, budget = here.memory / _MEMORY_GB, here.budget / _MEMORY_GB
    value = f"{total:.1f} GB, of which a model may take {budget:.1f} GB"
    if here.memory < _LITTLE_MEMORY:
        return Finding("memory", value, "note", "Enough for models up to about 4B in 4 bits.")
    return Finding("memory", value)


def _disk(here: Machine) -> Finding:
    value = f"{here.free / _DISK_GB:.1f} GB free for models in {here.folder}"
    if here.free < _LITTLE_DISK:
        return Finding(
            "disk",
            value,
            "note",
            "A 30B-A3B takes 17 GB in 4 bits; MLXQWEN_HOME moves the folder to another disk.",
        )
    return Finding("disk", value)


def _libraries(here: Machine) -> Finding:
    absent = [name for name in NEEDED if here.packages.get(name) is None]
    present = [
        f"{name} {found}"
        for name, found in here.packages.items()
        if found is not None and name != "mlx"
    ]
    if absent:
        return Finding(
            "libraries",
            f"missing: {', '.join(absent)}",
            "problem",
            "Install mlxqwen again: `pip install .` in its folder.",
        )
    return Finding("libraries", ", ".join(present))


def _models(here: Machine) -> Finding:
    others = [name for name in here.models if name != "guide"]
    if not here.models:
        return Finding(
            "models",
            "none, not even the built-in one",
            "problem",
            "The installation is incomplete: install mlxqwen again.",
        )
    if not others:
        return Finding(
            "models",
            "only the built-in guide, a tiny demonstration",
            "note",
            "`mlxqwen pull qwen3-4b` fetches one; `mlxqwen quantize` makes one of a checkpoint.",
        )
    shown = ", ".join(others[:4]) + (f" and {len(others) - 4} more" if len(others) > 4 else "")
    return Finding("models", shown)


def _hub(here: Machine) -> Finding:
    there = "" if here.hub_cache.is_dir() else " (not made yet)"
    return Finding("Hugging Face cache", f"{here.hub_cache}{there}")


def _store(store: Path) -> Finding:
    place = existing(store)
    if not os.access(place, os.W_OK):
        return Finding(
            "conversations",
            str(store),
            "problem",
            f"{place} cannot be written: change its permissions, or set MLXQWEN_HOME to a folder "
            "of yours.",
        )
    return Finding("conversations", str(store))


def _terminal(here: Machine) -> Finding:
    kind = here.terminal.get("TERM_PROGRAM") or here.terminal.get("TERM") or "unknown"
    if not here.is_terminal:
        return Finding("terminal", "standard output is no terminal", "note")
    if here.terminal.get("TERM", "dumb") == "dumb":
        return Finding("terminal", kind, "note", "The chat needs a terminal that moves its cursor.")
    if here.terminal.get("NO_COLOR"):
        return Finding("terminal", f"{kind}, colours switched off by NO_COLOR", "note")
    if here.terminal.get("COLORTERM", "") in {"truecolor", "24bit"}:
        return Finding("terminal", f"{kind}, 16 million colours")
    if here.terminal.get("TERM_PROGRAM") == "Apple_Terminal" or "256" in here.terminal["TERM"]:
        return Finding("terminal", f"{kind}, 256 colours")
    return Finding("terminal", f"{kind}, 16 colours", "note", "Themes are shown approximately.")


def _numbers(release: str) -> tuple[int, ...]:
    """``"14.5.1"`` as numbers, so that versions compare; up to the first part that is none."""
    numbers: list[int] = []
    for part in release.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
