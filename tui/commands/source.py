"""What SOURCE names: a folder, something on this machine, or a repository on the hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlxqwen.errors import ModelNotFound

from ..tilde import expanded


@dataclass(frozen=True, slots=True)
class Source:
    """Where a checkpoint is.

    Attributes:
        name: Its last part names the output where the user does not.
        path: The folder; None where it has to come from the hub.
        named: Whether the user gave a name, not a folder.
    """

    name: str
    path: Path | None
    named: bool = True

    @property
    def short(self) -> str:
        """The name without its owner."""
        return self.name.rpartition("/")[2]


def find_source(text: str) -> Source:
    """The checkpoint called ``text``; the network is not asked.

    An alias of a released model stands for the original weights, wherever they are: a conversion of
    it on this machine would be rounded a second time.

    Raises:
        CheckpointError: A path that is no model folder.
        ModelNotFound: Neither here nor the name of a repository.
    """
    from mlxqwen.hub.catalogue import find
    from mlxqwen.hub.library import local_models, resolve

    folder = expanded(text)
    known = find(text)
    names = {model.name.lower() for model in local_models()}
    alias = known is not None and "/" not in text and text.lower() not in names
    if known is not None and alias and not (folder / "config.json").is_file():
        text = known.hub_id
    try:
        path = resolve(text)
    except ModelNotFound:
        if text.count("/") != 1:
            raise
        return Source(known.hub_id if known is not None else text, None)
    if path == folder:
        return Source(path.resolve().name, path, named=False)
    return Source(text, path)
