"""Work that is not complete, noted on the disk: a file for each, so that instances do not meet.

It is only an offer for the next start: a disk that refuses it will speak up elsewhere.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import cast

from .job import KINDS, Kind, Task


def note(folder: Path, task: Task) -> None:
    """Remember ``task`` beyond this session. A verification begins anew, so it is not noted."""
    if task.kind == "verify":
        return
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        _file(folder, task).write_text(json.dumps(asdict(task)), encoding="utf-8")


def forget(folder: Path, task: Task) -> None:
    """It is complete, or nobody wants it any more."""
    with suppress(OSError):
        _file(folder, task).unlink(missing_ok=True)


def noted(folder: Path) -> list[Task]:
    """What the files in ``folder`` say, the oldest first; damaged ones say nothing."""
    found: list[tuple[float, Task]] = []
    for path in sorted(folder.glob("*.json")):
        try:
            task = _task(json.loads(path.read_text(encoding="utf-8")))
            if task is not None:
                found.append((path.stat().st_mtime, task))
        except (OSError, ValueError):
            continue
    return [task for _, task in sorted(found, key=lambda one: one[0])]


def _file(folder: Path, task: Task) -> Path:
    return folder / f"{task.key}.json"


def _task(value: object) -> Task | None:
    if not isinstance(value, dict):
        return None
    record = cast("dict[str, object]", value)
    name, given = record.get("name"), record.get("arguments")
    kinds: list[Kind] = [kind for kind in KINDS if kind == record.get("kind")]
    if not kinds or not isinstance(name, str) or not isinstance(given, list) or not given:
        return None
    arguments = tuple(str(argument) for argument in cast("list[object]", given))
    return Task(kinds[0], name, arguments, record.get("network") is True)
