"""However a run ends, the next one continues it, and nothing unfinished is ever taken for a model.

On a quiet machine the default takes about half a minute; ``CRASH_POINTS=all`` takes every point of
every kind.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

EVERY = os.environ.get("CRASH_POINTS") == "all"


def snapshot(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


@pytest.mark.skipif(sys.platform != "linux", reason="a process with Metal loaded cannot be forked")
@pytest.mark.parametrize(
    ("kind", "supply", "stride"),
    [
        ("before", "discard", 1),
        ("torn", "discard", 1),
        ("power", "discard", 1),
        ("some", "discard", 2),
        ("full", "discard", 2),
        ("twice", "discard", 5),
        ("before", "folder", 4),
        ("torn", "folder", 4),
        ("power", "folder", 4),
        ("some", "folder", 4),
        ("full", "folder", 4),
        ("twice", "folder", 10),
    ],
)
def test_every_step_on_the_disk_may_be_the_last(tiny, tmp_path, kind, supply, stride):
    root = tmp_path / "root"
    root.mkdir()
    program = Path(__file__).with_name("crashing.py")
    stride = 1 if EVERY else stride
    child = subprocess.run(
        [sys.executable, program, tiny, root, kind, supply, str(stride)],
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr
    told = json.loads(child.stdout)
    assert told["bad"] == {}
    # Each kind of change to a disk occurred, so none goes around the calls that are counted.
    names = {"open", "pwrite", "write", "fsync", "mkdir", "rename", "unlink", "rmdir"}
    assert names <= set(told["kinds"])
    assert told["steps"] > 80
    assert told["points"] >= told["steps"] // (2 if kind == "torn" else 1) // stride - 1


PROGRAM = """
import sys, pathlib
from quantize import pipeline
pipeline.CHUNK_BYTES, pipeline.BATCH_BYTES = 20_000, 100_000
def tell(report):
    print(report.stage, flush=True)
pipeline.quantise(*map(pathlib.Path, sys.argv[1:]), progress=tell)
"""


def test_kill_at_any_moment(make, tmp_path):
    source, output, fresh = make(moe=True, shards=3), tmp_path / "out", tmp_path / "fresh"

    def start(folder: Path) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, source, folder], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline()  # the work begins
        return child

    child = start(fresh)
    began = time.monotonic()
    child.communicate()
    seconds = time.monotonic() - began
    dice = random.Random(5)
    killed = 0
    for _ in range(8):
        if output.exists():
            break
        with start(output) as child:
            time.sleep(dice.random() * seconds / 2)
            child.send_signal(signal.SIGKILL)
            child.communicate()
        killed += child.returncode == -signal.SIGKILL
        if output.exists():
            assert snapshot(output) == snapshot(fresh)
    assert killed
    # Also where the last one died between the rename and the clearing up: that is the next run's.
    if not output.exists() or (tmp_path / "out.partial").exists():
        subprocess.run([sys.executable, "-c", PROGRAM, source, output], check=True)
    assert snapshot(output) == snapshot(fresh)
    assert not (tmp_path / "out.partial").exists()
