"""Which files of a folder its ``.gitignore`` leaves out: the plain rules, as people write them.

Understood are names and globs, rules with a slash (from the folder of their file), a slash at the
end for folders only, ``**`` and ``!``. The last rule that matches decides.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LARGEST = 65_536
_CROSSINGS = 3
"""``**/`` in a rule that is obeyed: each may stand for any folders, and all are tried together."""
_USUAL = ("node_modules/", "__pycache__/", "*.egg-info/", "*.lock", "*.min.js", "*.map")
"""What nobody wants to ask about, ignored or not."""


@dataclass(frozen=True, slots=True)
class _Rule:
    base: str  # the path of the rule's folder, with a slash at its end
    pattern: re.Pattern[str]
    keeps: bool
    folders_only: bool


class Ignored:
    """The rules of one folder, and of those within it that were entered."""

    def __init__(self, root: Path) -> None:
        found = (_rule(line, f"{root}/") for line in _USUAL)
        self._rules = [rule for rule in found if rule]

    def enter(self, folder: Path) -> None:
        """Take in the rules of ``folder``; its parents come first."""
        with suppress(OSError):
            with (folder / ".gitignore").open(encoding="utf-8", errors="replace") as file:
                lines = file.read(_LARGEST).splitlines()
            found = (_rule(line, f"{folder}/") for line in lines)
            self._rules += [rule for rule in found if rule]

    def matches(self, path: Path, *, folder: bool) -> bool:
        """The rules leave ``path`` out."""
        name = str(path)
        for rule in reversed(self._rules):
            if rule.folders_only and not folder:
                continue
            if name.startswith(rule.base) and rule.pattern.fullmatch(name[len(rule.base) :]):
                return not rule.keeps
        return False


def _rule(line: str, base: str) -> _Rule | None:
    line = line.rstrip()
    if not line or line.startswith("#"):
        return None
    keeps = line.startswith("!")
    line = line.removeprefix("!")
    folders_only = line.endswith("/")
    line = line.rstrip("/")
    if not line or line.count("**/") > _CROSSINGS:
        return None
    anywhere = "/" not in line
    pattern = _translated(line.lstrip("/"))
    return _Rule(
        base, re.compile(f"(?:.*/)?{pattern}" if anywhere else pattern), keeps, folders_only
    )


def _translated(glob: str) -> str:
    """A regular expression that is not slow, whatever stands in a file that came from anywhere.

    A star within a name is matched as early as it can be, and that is not tried again (``(?>…)``):
    with another one after it, nothing is missed by that.
    """
    within = glob.removesuffix("/**")
    pattern, fixed, starred = "", "", False
    for piece in re.findall(r"(?:(?<=/)|^)(?:\*\*/)+|\*+|\?|[^*?]+", within):
        if piece.endswith("**/"):
            between, fixed = fixed, ""
            pattern += (f"(?>[^/]*?{between})" if starred else between) + "(?:.*/)?"
            starred = False
        elif piece[0] == "*":
            pattern += f"(?>[^/]*?{fixed})" if starred else fixed
            fixed, starred = "", True
        else:
            fixed += "[^/]" if piece == "?" else re.escape(piece)
    return pattern + (f"[^/]*{fixed}" if starred else fixed) + ("/.*" if within != glob else "")
