"""A source on the hub and the same source in a folder give the same model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mlxqwen.errors import HubError
from mlxqwen.hub.client import Patience
from mlxqwen.hub.supply import HubSupply
from quantize.pipeline import quantise

NAME = "org/model"
QUICK = Patience(attempts=3, first=0.001, longest=0.002, silence=2.0)


@pytest.fixture
def wanted(hub_double: Any, tmp_path: Path) -> dict[str, bytes]:
    """The weights and settings that quantising from a folder writes."""
    commit = hub_double.publish_checkpoint(NAME, shards=3)
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, data in hub_double.commits[NAME][commit].items():
        (folder / name).write_bytes(data)
    quantise(folder, tmp_path / "wanted")
    return contents(tmp_path / "wanted")


def contents(folder: Path) -> dict[str, bytes]:
    """All files but those that name the source."""
    named = {"README.md", "mlxqwen.json"}
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in named}


def open_hub(output: Path, *, discard: bool) -> HubSupply:
    kept = output.with_name(f"{output.name}.partial") / "source"
    return HubSupply.open(NAME, discard=kept if discard else None, keep=kept, patience=QUICK)


@pytest.mark.parametrize("discard", [True, False])
def test_connections_that_break_change_nothing(
    hub_double: Any, wanted: dict[str, bytes], tmp_path: Path, discard: bool
) -> None:
    hub_double.fail("GET /content/.*00002-of", cut=30_000, skip=1, times=2)
    output = tmp_path / "from hub"
    quantise(open_hub(output, discard=discard), output)
    assert contents(output) == wanted
    cached = list(tmp_path.glob("hub/models--*/blobs/*"))
    assert bool(cached) is not discard


def test_a_run_that_lost_the_hub_goes_on_with_its_commit(
    hub_double: Any, wanted: dict[str, bytes], tmp_path: Path
) -> None:
    hub_double.fail("GET /content/.*00003-of", status=500, skip=1, times=None)
    output = tmp_path / "from hub"
    with pytest.raises(HubError, match="status 500"):
        quantise(open_hub(output, discard=True), output)
    assert not output.exists()
    hub_double.faults.clear()
    hub_double.publish_checkpoint(NAME, shards=2, seed=1)
    hub_double.asked.clear()
    quantise(open_hub(output, discard=True), output)
    assert contents(output) == wanted
    assert len(hub_double.lines("GET /content/.*00003-of")) == 1
    assert not hub_double.lines("/api/")
