"""What a repository's checkpoint holds, known before any shard is fetched.

The header of a shard lies in its first bytes: one request for each, a second where a header is
longer than the first piece.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from ..checkpoint.directory import Directory
from ..checkpoint.safetensors import Header, header_length, parse_header
from ..errors import CheckpointError, HubError
from .client import Hub, HubFile, Listing
from .transfer import Place, fetch

FIRST_BYTES = 256 * 1024

_WORKERS = 8
# What configures and tokenises a model, and the terms it comes under; never code or pickles.
_COMPANIONS = (
    "*.json", "*.jinja", "merges.txt", "vocab.txt", "tokenizer.model", "README.md",
    "LICENSE*", "LICENCE*", "NOTICE*",
)  # fmt: skip


def weights_of(listing: Listing) -> tuple[HubFile, ...]:
    """The safetensors files of a model.

    Raises:
        HubError: It has none, or no configuration.
    """
    files = tuple(
        file
        for file in listing.files
        if file.name.endswith(".safetensors") and not file.name.startswith("consolidated")
    )
    if not files or not any(file.name == "config.json" for file in listing.files):
        raise HubError(
            f"{listing.name} has no safetensors weights with a config.json.",
            "Choose a repository with the weights in that form.",
        )
    return files


def companions_of(listing: Listing) -> tuple[HubFile, ...]:
    """The small files that a model needs beside its weights."""
    return tuple(
        file
        for file in listing.files
        if any(fnmatch.fnmatchcase(file.name, pattern) for pattern in _COMPANIONS)
    )


def fetch_all(hub: Hub, listing: Listing, files: Iterable[HubFile], place: Place) -> None:
    """Fetches some small files, one after the other.

    Raises:
        HubError, OutputError: As ``fetch``.
    """
    for file in files:
        fetch(hub, listing.commit, file, place)


def header_texts(
    hub: Hub, listing: Listing, files: Sequence[HubFile], known: Mapping[str, str]
) -> dict[str, str]:
    """The JSON header of each file, by its name; those in ``known`` are not asked for.

    Raises:
        HubError: The hub did not send them.
        CheckpointError: A file is no safetensors file.
    """
    missing = [file for file in files if file.name not in known]
    pool = ThreadPoolExecutor(_WORKERS)
    try:
        asked = {file.name: pool.submit(_header_text, hub, listing, file) for file in missing}
        found = {name: text.result() for name, text in asked.items()}
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return {**known, **found}


def assemble(
    folder: Path, files: Sequence[HubFile], texts: Mapping[str, str], paths: Mapping[str, Path]
) -> Directory:
    """The checkpoint whose configuration lies in ``folder`` and whose shards lie at ``paths``.

    Raises:
        CheckpointError: It is not complete, or a header does not describe its file.
    """
    sizes = {file.name: file.size for file in files}

    def header(name: str) -> Header:
        return parse_header(paths[name], texts[name].encode(), sizes[name])

    directory = Directory.assemble(folder, sizes.keys(), header)
    return replace(directory, shards=tuple(paths[shard.name] for shard in directory.shards))


def _header_text(hub: Hub, listing: Listing, file: HubFile) -> str:
    where = Path(listing.name, file.name)
    first = hub.read(listing.commit, file, 0, min(FIRST_BYTES, file.size))
    end = 8 + header_length(where, first[:8], file.size)
    text = first[8:end]
    if end > len(first):
        text += hub.read(listing.commit, file, len(first), end)
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise CheckpointError(
            f"{where} has an unreadable header: {error}.", "Choose another repository."
        ) from error
