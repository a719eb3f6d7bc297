"""Whether a model's folder is whole: every byte hashed, every layer read and computed with.

With the manifest that we write, files are held against what was written. Without one, only their
form and what they compute can be checked, and the result says so.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from mlxqwen.errors import CheckpointError

from .manifest import MANIFEST_NAME, FileHash, Manifest, read_manifest
from .partial import MARKER
from .progress import Report
from .soundness import Findings, Problem, Trial, not_ours, try_out

_BLOCK = 8 << 20
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found.

    Attributes:
        path: The folder.
        manifest: Whether there is one to hold files against.
        files: How many were hashed and compared, of ``nbytes`` together.
        layers: How many were loaded and computed.
        bits: Stored bits per weight; None where the model cannot be loaded.
        problems: The model must not be used; empty where all is well.
        notes: What could not be checked, or is unusual and harmless.
    """

    path: str
    manifest: bool
    files: int
    nbytes: int
    layers: int
    bits: float | None
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether the model is whole, as far as could be checked."""
        return not self.problems

    def error(self) -> CheckpointError:
        """All problems, of which there must be one, as an error to raise."""
        first, *others = self.problems
        return CheckpointError(first.what, "\n".join([first.hint, *map(str, others)]))

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON."""
        return {"ok": self.ok, **asdict(self)}


def verify(path: Path, progress: Report | None = None) -> Verification:
    """Checks the model in ``path``; what is wrong with it is returned, not raised.

    Args:
        progress: Told ``done`` of ``total`` bytes: all files once for their hashes, and the weights
            once more for computing with them.
    """
    started = time.perf_counter()
    findings = Findings(path, progress)
    manifest, trial = None, Trial()
    counted: list[int] = []
    unfinished = unfinished_model(path)
    if unfinished is not None:
        findings.problems.append(unfinished)
    else:
        try:
            manifest = _read_manifest(findings)
            expected = hub_hashes(path) if manifest is None else manifest.files
            findings.total = _bytes_to_read(path, expected)
            if manifest is None:
                findings.notes.append(_without_manifest(expected))
            else:
                not_ours(findings, set(expected))
            counted = [_hash(findings, name, entry) for name, entry in sorted(expected.items())]
            trial = try_out(findings, ours=manifest is not None)
        except OSError as error:
            findings.problem(f"{path} cannot be read: {error}.", "Check the disk and permissions.")
    return Verification(
        path=str(path),
        manifest=manifest is not None,
        files=len(counted),
        nbytes=sum(counted),
        layers=trial.layers,
        bits=trial.bits,
        problems=tuple(findings.problems),
        notes=tuple(findings.notes),
        seconds=time.perf_counter() - started,
    )


def unfinished_model(path: Path) -> Problem | None:
    """Why there is no finished model at ``path``: nothing there, or a run that has not ended."""
    inside = path.parent if path.name == "output" else path
    beside = path.parent / f"{path.name}.partial"
    for folder in (inside, beside):
        if (folder / MARKER).is_file() and not (folder == beside and path.is_dir()):
            output = folder.parent / folder.name.removesuffix(".partial")
            return Problem(
                f"{output} is not finished: its quantisation was interrupted or is still running.",
                "Run the same `mlxqwen quantize` command again; it continues where it stopped.",
            )
    if not path.is_dir():
        return Problem(f"{path} is not a folder.", "Give the folder that holds config.json.")
    return None


def hub_hashes(path: Path) -> dict[str, FileHash]:
    """Of files in the hub's cache, which are links to blobs that bear their SHA-256 as a name."""
    found: dict[str, FileHash] = {}
    for file in path.iterdir():
        target = Path(os.path.realpath(file))  # which takes links that lead in a circle
        if file.is_symlink() and target.parent.name == "blobs" and _DIGEST.fullmatch(target.name):
            # Nothing else tells the size; a blob that is not there is told as missing.
            size = target.stat().st_size if target.is_file() else 0
            found[file.name] = FileHash(size, target.name)
    return found


def _read_manifest(findings: Findings) -> Manifest | None:
    try:
        return read_manifest(findings.path)
    except CheckpointError as error:
        findings.caught(error)
        return None


def _bytes_to_read(path: Path, expected: Mapping[str, FileHash]) -> int:
    weights = (file for file in path.glob("*.safetensors") if file.is_file())
    return sum(e.nbytes for e in expected.values()) + sum(f.stat().st_size for f in weights)


def _without_manifest(hashes: Mapping[str, FileHash]) -> str:
    if hashes:
        return (
            f"There is no {MANIFEST_NAME}; {len(hashes)} files were held against the hashes that "
            "the hub's cache names them by."
        )
    return (
        f"There is no {MANIFEST_NAME} with the files' hashes, so only their form and what they "
        "compute was checked: a changed number would not be noticed."
    )


def _hash(findings: Findings, name: str, expected: FileHash) -> int:
    """Holds one file against what it should be; its bytes."""
    file = findings.path / name
    if Path(name).name != name:
        findings.problem(f"{MANIFEST_NAME} names {name!r}, which is no file of the folder.")
        return 0
    before = findings.done
    size = 0
    try:
        size = file.stat().st_size
        if size != expected.nbytes:
            findings.problem(f"{file} has {size:,} bytes instead of {expected.nbytes:,}.")
        elif _digest(findings, file) != expected.sha256:
            findings.problem(f"{file} is damaged: its bytes are not those that were written.")
    except FileNotFoundError:
        findings.problem(f"{file} is missing.")
    except OSError as error:
        findings.problem(
            f"{file} cannot be read: {error.strerror}.", "Check the disk and permissions."
        )
    # Also of what was not read, so that the rest counts right.
    findings.read(before + expected.nbytes - findings.done, name)
    return size


def _digest(findings: Findings, file: Path) -> str:
    digest = sha256()
    block = bytearray(_BLOCK)
    with file.open("rb", buffering=0) as stream:
        while count := stream.readinto(block):
            digest.update(memoryview(block)[:count])
            findings.read(count, file.name)
    return digest.hexdigest()
