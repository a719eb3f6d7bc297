"""What a command says about its work with ``--json``, as types."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast


@dataclass(frozen=True, slots=True)
class Started:
    """What a download consists of: bytes in all, here already, and free on the disk."""

    total: int
    here: int
    free: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the present stage is.

    Attributes:
        stage: ``fetch``, ``plan``, ``calibrate``, ``fit``, ``refine``, ``quantise``, ``check`` or
            ``publish``.
        share: Between 0 and 1; None where it is not known.
        done: Of ``total``: bytes, or 0 of 0 where the stage counts something else.
        rate: Bytes per second; None before that says anything.
        seconds_left: Of this stage.
    """

    stage: str
    share: float | None
    done: int = 0
    total: int = 0
    rate: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True, slots=True)
class Planned:
    """What a quantisation will write; everything in bytes and tokens.

    Attributes:
        kinds: For each kind of matrix its name, how many, the bits (None: as it is), and bytes.
    """

    output: str
    description: str
    bits_per_weight: float
    source_bytes: int
    fetch_bytes: int
    output_bytes: int
    disk_needed: int
    disk_free: int
    memory: int
    budget: int
    context: int
    fits: bool
    kinds: tuple[tuple[str, int, int | None, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The work is complete; ``path`` is the folder of its result."""

    path: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The work was interrupted and can be continued."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The work broke off: the error's class, a sentence, and the next step ("" for none)."""

    kind: str
    what: str
    hint: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification found. ``problems`` and ``notes`` are sentences."""

    ok: bool
    files: int
    bytes: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]


JobEvent = Started | Progress | Planned | Notice | Finished | Stopped | Failure | Verified


class Reader:
    """Puts lines together to JSON objects: one a line, or one that is spread over several."""

    def __init__(self) -> None:
        self._open = ""

    def feed(self, line: str) -> JobEvent | None:
        """The event that ``line`` completes; None where there is none, or it says nothing here."""
        self._open += line
        if self._open.startswith("{\n") and line.rstrip("\n") != "}":
            return None
        whole, self._open = self._open, ""
        try:
            value: object = json.loads(whole)
        except ValueError:
            return None
        return read_event(cast("dict[str, Any]", value)) if isinstance(value, dict) else None


def read_event(record: Mapping[str, Any]) -> JobEvent | None:
    """One object that a command printed; None where it is of no use to the interface."""
    match record.get("event"):
        case "start":
            return Started(record["total"], record["here"], record["free"])
        case "progress":
            return _progress(record)
        case "plan":
            return _planned(record)
        case "notice":
            return Notice(record["text"])
        case "waiting":
            return Notice(record["why"])
        case "done":
            return Finished(record["path"])
        case "stopped" | "interrupted":
            return Stopped()
        case "error":
            return Failure(record["kind"], record["what"], record["hint"])
        case None if "ok" in record and "problems" in record:
            return _verified(record)
        case _:
            return None


def _progress(record: Mapping[str, Any]) -> Progress | None:
    if "files" in record:  # of a download
        done, total = record["done"], record["total"]
        share = done / total if total else None
        return Progress("fetch", share, done, total, record["speed"], record["seconds_left"])
    if "stage" not in record:
        return None
    in_bytes = record["bytes_read_total"] > 0 and not record["total"]
    return Progress(
        record["stage"],
        record["share"],
        record["bytes_read"] if in_bytes else 0,
        record["bytes_read_total"] if in_bytes else 0,
        record["bytes_per_second"],
        record["seconds_left"],
    )


def _planned(record: Mapping[str, Any]) -> Planned:
    memory = record["memory"]
    kinds = tuple(
        (
            row["kind"],
            row["count"],
            None if row["spec"] is None else int(row["spec"]["bits"]),
            row["bytes"],
        )
        for row in record.get("groups", ())
        if len(row["shape"]) > 1
    )
    return Planned(
        output=record["output"],
        description=record["description"],
        bits_per_weight=record["bits_per_weight"],
        source_bytes=record["source_bytes"],
        fetch_bytes=record["fetch_bytes"],
        output_bytes=record["output_bytes"],
        disk_needed=record["disk_needed"],
        disk_free=record["disk_free"],
        memory=memory["total"],
        budget=memory["budget"],
        context=memory["context"],
        fits=memory["fits"],
        kinds=kinds,
    )


def _verified(record: Mapping[str, Any]) -> Verified:
    problems = tuple(f"{problem['what']} {problem['hint']}" for problem in record["problems"])
    return Verified(
        record["ok"], record["files"], record["nbytes"], problems, tuple(record["notes"])
    )
