"""What is installed: one wheel with three import names, and nobody else's."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = {"mlxqwen", "quantize", "tui"}


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names inside the wheel, built by the backend itself without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_wheel_has_exactly_three_import_names(members: list[str]) -> None:
    tops = {name.partition("/")[0] for name in members}
    (info,) = (top for top in tops if top.endswith(".dist-info"))
    assert info.startswith("mlxqwen-")
    assert tops == NAMES | {info}


def test_wheel_carries_its_types_style_and_built_in_model(members: list[str]) -> None:
    assert {f"{name}/py.typed" for name in NAMES} <= set(members)
    assert "tui/app.tcss" in members
    guide = {
        name.rpartition("/")[2] for name in members if name.startswith("mlxqwen/builtin/guide/")
    }
    assert {"config.json", "tokenizer.json", "tokenizer_config.json"} <= guide
    assert any(name.endswith(".safetensors") for name in guide)


def test_wheel_carries_nothing_left_over(members: list[str]) -> None:
    left = [name for name in members if "__pycache__" in name or name.endswith((".pyc", ".log"))]
    assert left == []


def test_no_other_distribution_owns_our_import_names() -> None:
    """In an editable install a rival in site-packages would win outside the checkout."""
    owners = packages_distributions()
    assert {name: set(owners.get(name, [])) - {"mlxqwen"} for name in NAMES} == {
        name: set() for name in NAMES
    }


def test_the_lock_file_belongs_to_this_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    (ours,) = (package for package in lock["package"] if package["name"] == "mlxqwen")
    extra = project["optional-dependencies"]["dev"]
    wanted = {bare(one) for one in project["dependencies"] + extra}
    locked = {(one["name"], one.get("specifier", "")) for one in ours["metadata"]["requires-dist"]}
    assert locked == wanted


def bare(requirement: str) -> tuple[str, str]:
    """Name and version range of a requirement, without extras and markers."""
    match = re.match(r"([\w.-]+)(?:\[[^\]]*\])?([^;]*)", requirement)
    assert match is not None
    return match[1], match[2].strip()


def test_the_lock_file_names_the_public_index_only() -> None:
    hosts = re.findall(r"\w+://([^/\"]+)", (ROOT / "uv.lock").read_text(encoding="utf-8"))
    assert set(hosts) == {"pypi.org", "files.pythonhosted.org"}
