"""What a quantisation was asked for and what of it is on disk: one line for each finished batch.

A line is the CRC-32 of its JSON in eight hexadecimal digits, a space, the JSON and a newline. The
first is the pin: everything that decides the output's bytes. A line is appended and synced after
the data that it speaks of are synced, so what the journal says is there is there; a line that was
torn by the end of the process does not match its checksum, and it and all after it are dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast
from zlib import crc32

from mlxqwen.checkpoint.disk import sync
from mlxqwen.errors import OutputError

from .partial import sync_folder, unwritable, write_all

# Of the journal, the folder around it and the manifest; another one cannot be continued.
FORMAT = "1"


@dataclass(frozen=True, slots=True)
class Pin:
    """Everything that decides the bytes of an output, and the source's name for messages.

    Attributes:
        source: What the user calls it.
        revision: The hub's commit, or "".
        identity: Digest of the source.
        recipe: Its name.
        choices: Digest of everything in it.
        guidance: Identity of what calibration and refinement gave, or "".
        mlxqwen: Our version, because another one may round differently.
        mlx: MLX's version.
        device: Kind of the device that rounds: CPU and GPU break ties differently.
        work: Digest of the output's layout and of how the work is cut.
        format: ``FORMAT``.
    """

    source: str
    revision: str
    identity: str
    recipe: str
    choices: str
    guidance: str
    mlxqwen: str
    mlx: str
    device: str
    work: str
    format: str = FORMAT

    def digest(self) -> str:
        """SHA-256 in hex of all but the source's name: a folder may be moved."""
        known = {key: value for key, value in asdict(self).items() if key != "source"}
        return sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()

    def changes(self, now: Pin) -> tuple[str, ...]:
        """What differs in ``now``, in words; () where a run may be continued."""
        pairs = (
            ("the source's revision", self.revision, now.revision),
            ("the recipe", self.recipe, now.recipe),
            ("mlxqwen", self.mlxqwen, now.mlxqwen),
            ("MLX", self.mlx, now.mlx),
            ("the device", self.device, now.device),
            ("the format of unfinished work", self.format, now.format),
        )
        found = [
            f"{name} ({old or 'none'} → {new or 'none'})" for name, old, new in pairs if old != new
        ]
        if self.identity != now.identity and self.revision == now.revision:
            moved = f" ({self.source} → {now.source})" if self.source != now.source else ""
            found.append(f"the source's files{moved}")
        if self.choices != now.choices and self.recipe == now.recipe:
            found.append(f"the choices of recipe {now.recipe} (bits, group size, mode or modules)")
        if self.guidance != now.guidance:
            found.append("what calibration gave")
        if not found and self.work != now.work:
            found.append("how mlxqwen lays out and cuts the work")
        return tuple(found)


class Journal:
    """Open for appending; as a context manager it closes.

    Args:
        path: The file; where there is none, or not even a whole pin in it, it begins anew.
        pin: Of the run that wants to write.

    Attributes:
        batches: What earlier runs recorded, by number of the batch.

    Raises:
        OutputError: The journal belongs to another output than ``pin`` describes, or cannot be
            read or written.
    """

    def __init__(self, path: Path, pin: Pin) -> None:
        self._path = path
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise unwritable(path, error) from error
        try:
            records, length = _read(self._fd)
            former = _pin(records[0]) if records else None
            if former is None:
                length = 0
            elif changed := former.changes(pin):
                raise OutputError(
                    f"{path.parent} was begun with something else: {'; '.join(changed)}.",
                    "Run the command that began it to continue, or add --restart to begin anew.",
                )
            if os.fstat(self._fd).st_size > length:
                os.ftruncate(self._fd, length)
                sync(self._fd)
            if former is None:
                self._append(asdict(pin))
                sync_folder(path.parent)
        except BaseException as error:
            os.close(self._fd)
            if isinstance(error, OSError):
                raise unwritable(path, error) from error
            raise
        self.batches = {
            record["batch"]: record for record in records[1:] if type(record.get("batch")) is int
        }

    def append(self, record: Mapping[str, Any]) -> None:
        """Record a batch, with its number as ``batch``; it is stable when this returns.

        Raises:
            OutputError: The disk is full or the write failed.
        """
        try:
            self._append(record)
        except OSError as error:
            raise unwritable(self._path, error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)

    def _append(self, record: Mapping[str, Any]) -> None:
        text = json.dumps(record, separators=(",", ":")).encode()
        write_all(self._fd, b"%08x %s\n" % (crc32(text), text))
        sync(self._fd)


def _read(descriptor: int) -> tuple[list[dict[str, Any]], int]:
    """The records up to the first torn line, and how many bytes they take."""
    data = bytearray()
    while block := os.read(descriptor, 1 << 20):
        data += block
    records: list[dict[str, Any]] = []
    length = 0
    for line in data.splitlines(keepends=True):
        checksum, _, text = bytes(line).removesuffix(b"\n").partition(b" ")
        if not line.endswith(b"\n") or checksum != b"%08x" % crc32(text):
            break
        # Whatever has the right checksum we wrote, and we write objects only.
        records.append(cast("dict[str, Any]", json.loads(text)))
        length += len(line)
    return records, length


def _pin(record: Mapping[str, Any]) -> Pin | None:
    """None where another version of us wrote a pin with other fields and not even a format."""
    names = [field.name for field in fields(Pin)]
    if "format" not in record:
        return None
    return Pin(**{name: str(record.get(name, "")) for name in names})
