"""Rules about the source text itself."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("mlxqwen", "quantize", "tui")


def modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def texts() -> Iterator[tuple[Path, str]]:
    """Every text file that belongs to the project: what git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    names = listed.stdout.decode().split("\0") if listed.returncode == 0 else []
    paths = [ROOT / name for name in names if name] or [*modules(), *(ROOT / "tests").rglob("*.py")]
    for path in paths:
        if path.is_file():
            data = path.read_bytes()
            if b"\0" not in data:
                yield path, data.decode("utf-8", errors="replace")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_module_is_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_readme_is_short_enough_to_read() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_no_module_is_named_for_everything_and_nothing() -> None:
    vague = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
    assert [path for path in modules() if path.stem in vague] == []


def broad(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        kind is None or (isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"})
        for kind in caught
    )


def raises(handler: ast.ExceptHandler) -> bool:
    """It ends by raising, the same error or another: nothing is swallowed."""
    return isinstance(handler.body[-1], ast.Raise)


@pytest.mark.parametrize(
    ("source", "refused"),
    [
        ("try: pass\nexcept Exception: pass", True),
        ("try: pass\nexcept (OSError, Exception): pass", True),
        ("try: pass\nexcept: pass", True),
        ("try: pass\nexcept BaseException:\n    raise", False),
        ("try: pass\nexcept Exception as e:\n    raise ValueError from e", False),
        ("try: pass\nexcept OSError: pass", False),
    ],
)
def test_the_rule_on_broad_handlers_itself(source: str, refused: bool) -> None:
    found = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ExceptHandler)]
    assert any(broad(handler) and not raises(handler) for handler in found) is refused


def test_no_handler_swallows_every_error() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ExceptHandler) and broad(node) and not raises(node)
    ]
    assert found == []


def test_no_unfinished_work() -> None:
    marks = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX)\b|NotImplemented" + "Error")
    found = [
        str(path.relative_to(ROOT))
        for path in modules()
        if marks.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_no_path_of_this_machine_is_written_down() -> None:
    """Neither where this checkout lies nor where its Python is installed."""
    places = [str(ROOT), sys.prefix]
    # A path of one part ("/usr") is a place on every machine.
    patterns = [
        re.compile(re.escape(place) + r"(/|\b)") for place in places if place.count("/") > 1
    ]
    found = [
        str(path.relative_to(ROOT))
        for path, text in texts()
        if path.name != "pyvenv.cfg" and any(pattern.search(text) for pattern in patterns)
    ]
    assert found == []


def test_readme_has_one_line_that_runs_the_tests_and_one_that_runs_the_program() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert (
        lines.count(
            "python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]' && .venv/bin/pytest"
        )
        == 1
    )
    assert (
        lines.count("python3 -m venv .venv && .venv/bin/pip install -q . && .venv/bin/mlxqwen") == 1
    )
