"""Text that goes with a question: files, whole folders, and pastes too long to show.

A file is read as UTF-8, as UTF-16 where it says so, and else as Latin-1, in which any byte is a
letter; what is no text at all is refused with its reason. A folder is one attachment: its text
files one after the other under their names, without what is hidden, ignored by its ``.gitignore``
or too large, and with a list of what was left out.
"""

from __future__ import annotations

import codecs
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mlxqwen.errors import UsageError

from .ignored import Ignored
from .markdown.text import clean
from .tilde import expanded
from .words import say

FILE_BYTES = 2_000_000
"""The largest single file: half a million tokens, more than any of these models reads."""
MEMBER_BYTES = 256_000
"""The largest file of a folder."""
FOLDER_BYTES = 2_000_000
FOLDER_FILES = 400
FOLDER_ENTRIES = 20_000
PASTE_BYTES = 20_000
"""From here on a paste becomes an attachment: a text box of that size answers keys too slowly."""
_SNIFFED = 8192
_BYTES_PER_TOKEN = 4
_LONGEST_DROP = 4096

_IMAGES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
_IMAGE_NAMES = {".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tiff", ".heic", ".avif"}
_PDF = b"%PDF-"
_ESCAPED = re.compile(rb"%([0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A named text that goes with a question; ``name`` is for people and for the model."""

    name: str
    text: str
    mime: str = "text/plain"
    files: int = 1
    skipped: tuple[str, ...] = ()
    """What of a folder was left out, each with its reason in the interface's language."""
    size: int = field(init=False, compare=False)
    """Bytes of its text in UTF-8; counted once, for a chip is drawn often."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", len(self.text.encode(errors="replace")))

    @property
    def tokens(self) -> int:
        """About how many tokens it is, from its size alone."""
        return -(-self.size // _BYTES_PER_TOKEN)


def pasted(text: str, number: int) -> Attachment:
    """The ``number``-th long paste of a question."""
    return Attachment(say("attach.paste", number=number), text)


def is_long(text: str) -> bool:
    """A paste of ``text`` is better attached than typed in."""
    return len(text) > PASTE_BYTES or len(text.encode(errors="replace")) > PASTE_BYTES


def read(path: Path) -> Attachment:
    """Read a file or a folder.

    Raises:
        UsageError: There is nothing, it may not be read, is too large, or is no text.
    """
    path = expanded(path)
    try:
        if path.is_dir():
            return _read_folder(path)
        if path.exists() and not path.is_file():
            raise UsageError(say("attach.no_file", name=_shown(path)))
        return Attachment(_shown(path.name), _read_file(path, _shown(path), FILE_BYTES))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(say("attach.unreadable", name=_shown(path), reason=reason)) from error


def dropped(text: str) -> list[Path]:
    """The paths that ``text`` consists of, as a terminal pastes files that are dragged into it.

    Absolute ones that exist, plain, quoted, with escaped spaces or as ``file:`` addresses; nothing
    where there is anything else among them.
    """
    text = text.strip()
    if len(text) > _LONGEST_DROP or not text.startswith(("/", "~/", "'/", '"/', "file:///")):
        return []
    try:
        parts = [text] if _exists(text) else shlex.split(text)
    except ValueError:
        return []  # quotes that do not end
    paths = [expanded(_path_of(part)) for part in parts]
    return paths if all(path.is_absolute() and _exists(path) for path in paths) else []


def _path_of(part: str) -> Path:
    """A path as it is, or that of a ``file:///`` address with its %XX read as bytes."""
    if not part.startswith("file:///"):
        return Path(part)
    written = part.removeprefix("file://").encode()
    return Path(os.fsdecode(_ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), written)))


def _exists(path: str | Path) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long for a name, or with a NUL in it
        return False


def _read_file(path: Path, name: str, limit: int) -> str:
    with path.open("rb") as file:
        data = file.read(limit + 1)
    _refuse_images(path, name, data)
    if data.startswith(_PDF):
        raise UsageError(say("attach.pdf", name=name))
    if len(data) > limit:
        raise UsageError(say("attach.too_large", name=name, limit=limit // 1000))
    if not data.strip():
        raise UsageError(say("attach.empty", name=name))
    text = _decoded(data)
    if text is None:
        raise UsageError(say("attach.binary", name=name))
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _refuse_images(path: Path, name: str, data: bytes) -> None:
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    # "BM" begins words too: a bitmap has zeros in its header.
    named = path.suffix.lower() in _IMAGE_NAMES
    if webp or (data.startswith(_IMAGES) and (named or b"\x00" in data[:_SNIFFED])):
        raise UsageError(say("attach.image", name=name))


def _decoded(data: bytes) -> str | None:
    """``data`` as text; None where it is none."""
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if data.startswith(mark):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError:
                return None
    if b"\x00" in data:
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    # Latin-1 takes anything: letters it shall be, with no more controls than a log has colours.
    controls = sum(byte < 32 and byte not in b"\t\n\r\x0c\x1b" for byte in data[:_SNIFFED])
    return None if controls > len(data[:_SNIFFED]) // 100 else data.decode("latin-1")


def _read_folder(folder: Path) -> Attachment:
    parts: list[str] = []
    skipped: list[str] = []
    total = 0
    for seen, (path, reason) in enumerate(_members(folder)):
        if seen == FOLDER_ENTRIES:
            skipped.append(say("attach.rest_files", number=FOLDER_ENTRIES))
            break
        name = _shown(path.relative_to(folder))
        if not reason:
            if len(parts) == FOLDER_FILES:
                skipped.append(say("attach.rest_files", number=FOLDER_FILES))
                break
            try:
                text = _read_file(path, name, MEMBER_BYTES)
            except UsageError as error:
                reason = error.what
            except OSError as error:
                reason = f"{name}: {error.strerror}"
            else:
                total += len(text.encode(errors="replace"))
                if total > FOLDER_BYTES:
                    skipped.append(say("attach.rest_bytes", limit=FOLDER_BYTES // 1_000_000))
                    break
                parts.append(f"--- {name} ---\n{text.rstrip()}\n")
                continue
        skipped.append(reason)
    name = f"{_shown(folder.resolve().name)}/"
    if not parts:
        raise UsageError(say("attach.no_text", name=name))
    return Attachment(name, "\n".join(parts), files=len(parts), skipped=tuple(skipped))


def _members(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files in order, each with why it is left out, or ""; folders left out come as one."""
    ignored = Ignored(folder)

    closed: list[Path] = []

    def refused(error: OSError) -> None:
        closed.append(Path(error.filename))

    for where, folders, files in os.walk(folder, onerror=refused):
        here = Path(where)
        ignored.enter(here)
        kept: list[str] = []
        for name in sorted(folders):
            if name.startswith("."):
                continue  # nobody means .git
            if (here / name).is_symlink() or ignored.matches(here / name, folder=True):
                yield here / name, _left_out("attach.ignored", f"{here / name}/", folder)
            else:
                kept.append(name)
        folders[:] = kept
        for name in sorted(files):
            path = here / name
            if name.startswith("."):
                continue
            if path.is_symlink() or not path.is_file():
                yield path, _left_out("attach.odd", str(path), folder)
            elif ignored.matches(path, folder=False):
                yield path, _left_out("attach.ignored", str(path), folder)
            else:
                yield path, ""
    for path in closed:
        yield path, _left_out("attach.closed", str(path), folder)


def _left_out(key: str, path: str, folder: Path) -> str:
    return say(key, name=clean(path.removeprefix(f"{folder}/")).replace("\n", " "))


def _shown(path: str | Path) -> str:
    return clean(str(path)).replace("\n", " ")
