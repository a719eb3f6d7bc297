"""Whether the files that mlxqwen keeps are sound, and what the machine says of itself."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlxqwen.hub.library import LocalModel
from mlxqwen.hub.places import models_folder

from .database import FAULTS, connect
from .settings import read_settings
from .units import size
from .words import plural, say

State = Literal["ok", "note", "problem"]
DOCTOR = (sys.executable, "-m", "tui.cli", "doctor", "--json")

_OURS = frozenset({"conversations", "terminal"})  # looked at here, with better eyes


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what it is, what was found, what to do about it."""

    name: str
    value: str
    state: State = "ok"
    remedy: str = ""


def files(conversations: Path, settings: Path, models: Iterable[LocalModel]) -> list[Finding]:
    """Everything that is kept on the disk; reads the whole conversation file."""
    return [
        _conversations(conversations),
        _backups(conversations),
        *_settings(settings),
        _models(models),
    ]


def writing(path: Path, *, read_only: bool) -> Finding:
    """Who may write the conversations."""
    if read_only:
        return Finding(
            say("doctor.writing"), say("doctor.read_only"), "note", say("doctor.close_other")
        )
    if path.exists() and not os.access(path, os.W_OK):
        return Finding(
            say("doctor.writing"),
            say("doctor.not_writable", path=path),
            "problem",
            say("settings.elsewhere"),
        )
    return Finding(say("doctor.writing"), say("doctor.writable"))


async def machine(command: Sequence[str] | None = None) -> list[Finding]:
    """What ``mlxqwen doctor`` finds, run in a process of its own: it loads MLX to try it."""
    process = await asyncio.create_subprocess_exec(
        *(command or DOCTOR),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, errors = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    try:
        findings = [Finding(**record) for record in json.loads(out)["findings"]]
    except (ValueError, TypeError, KeyError):
        words = errors.decode(errors="replace").strip().splitlines()
        told = words[-1] if words else say("engine.ended", code=process.returncode)
        return [Finding("mlxqwen", say("doctor.failed", what=told), "problem")]
    return [finding for finding in findings if finding.name not in _OURS]


def _conversations(path: Path) -> Finding:
    name = say("doctor.conversations")
    if not path.exists():
        return Finding(name, f"{path}: {say('doctor.not_yet')}")
    try:
        room = size(path.stat().st_size)
        with closing(connect(path, read_only=True)) as connection:
            (told,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    except FAULTS as error:
        what = say("doctor.unopened", what=error)
        return Finding(name, f"{path}: {what}", "problem", say("doctor.restore"))
    if told != "ok":
        what = say("doctor.unsound", size=room, what=" ".join(str(told).split()))
        return Finding(name, f"{path}: {what}", "problem", say("doctor.restore"))
    return Finding(name, f"{path}: {say('doctor.sound', size=room)}")


def _backups(path: Path) -> Finding:
    found = sorted(path.parent.glob(f"{path.name}*.backup"))
    told = ", ".join(f"{one.name} ({size(one.stat().st_size)})" for one in found)
    return Finding(say("doctor.backups"), told or say("doctor.no_backups"))


def _settings(path: Path) -> list[Finding]:
    name = say("doctor.settings")
    if not path.exists():
        return [Finding(name, f"{path}: {say('doctor.not_yet')}")]
    complaints = read_settings(path).complaints
    if not complaints:
        return [Finding(name, str(path))]
    return [Finding(name, complaint, "note", say("settings.mend")) for complaint in complaints]


def _models(models: Iterable[LocalModel]) -> Finding:
    folder = models_folder()
    ours = [model.bytes for model in models if model.source == "ours"]
    told = plural("doctor.models_found", len(ours), size=size(sum(ours)))
    place = folder if folder.exists() else folder.parent
    if place.exists() and not os.access(place, os.W_OK):
        return Finding(
            say("doctor.models"),
            say("doctor.not_writable", path=place),
            "problem",
            say("settings.elsewhere"),
        )
    return Finding(say("doctor.models"), f"{folder}: {told}")
