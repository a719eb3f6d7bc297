"""``mlxqwen pull`` as people and programs see it, against a hub on the loopback interface."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tui.commands.fetching import Speed

NAME = "mlx-community/Qwen3-0.6B-4bit"
CLI = [sys.executable, "-m", "tui.cli"]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def env(hub_double: Any, tmp_path: Path) -> dict[str, str]:
    hub_double.publish_checkpoint(NAME)
    kept = {key: value for key, value in os.environ.items() if key != "HF_HOME"}
    return kept | {"MLXQWEN_HOME": str(tmp_path / "ours"), "HOME": str(tmp_path / "home")}


@pytest.fixture
def run(env: dict[str, str]) -> Run:
    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*CLI, *arguments], capture_output=True, text=True, timeout=60, env=env | more
        )

    return run


def test_it_says_what_it_will_do_then_prints_the_folder(run: Run, tmp_path: Path) -> None:
    tried = run("pull", "qwen3-0.6b", "--dry-run")
    assert tried.returncode == 0, tried.stderr
    assert tried.stdout == ""
    first, second = tried.stderr.splitlines()
    assert first.startswith(f"{NAME}: ")
    assert first.endswith(" to fetch.")
    assert "fits into" in second
    assert not (tmp_path / "hub").exists()
    done = run("pull", "qwen3-0.6b")
    assert done.stderr.splitlines()[0] == first
    assert (Path(done.stdout.strip()) / "config.json").is_file()
    assert "is here already" in run("pull", "qwen3-0.6b").stderr


def test_events_for_programs(run: Run, hub_double: Any) -> None:
    hub_double.fail("GET /content/", status=429, headers={"Retry-After": "1"})
    done = run("pull", NAME, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[0] in {"start", "waiting"}
    assert set(kinds) == {"start", "waiting", "progress", "done"}
    start = events[kinds.index("start")]
    assert start["model"] == NAME
    assert start["to_fetch"] == start["total"] > 0
    assert (start["fits"], start["has_room"]) == (True, True)
    last = [event for event in events if event["event"] == "progress"][-1]
    assert last["done"] == last["total"] == start["total"]
    assert events[-1] == {"event": "done", "path": start["path"]}
    assert events[kinds.index("waiting")]["why"] == "The hub asks for a pause"


def test_a_failure_is_one_sentence_and_an_event(run: Run, hub_double: Any) -> None:
    hub_double.fail("GET /api", status=403, headers={"X-Error-Code": "GatedRepo"})
    failed = run("pull", NAME, "--json")
    assert failed.returncode == 1
    event = json.loads(failed.stdout)
    assert (event["event"], event["kind"]) == ("error", "HubError")
    assert "is gated" in event["what"]
    assert failed.stderr.count("\n") == 1
    assert event["hint"] in failed.stderr


def test_a_model_of_another_kind_is_fetched_but_not_promised(run: Run, hub_double: Any) -> None:
    files = hub_double.commits[NAME][hub_double.refs[NAME, "main"]]
    files["config.json"] = b'{"model_type": "llama"}'
    done = run("pull", NAME)
    assert done.returncode == 0
    assert "It cannot be run here: " in done.stderr


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_ctrl_c_says_the_command_that_goes_on(
    env: dict[str, str], hub_double: Any, arguments: tuple[str, ...]
) -> None:
    # The header of that file comes; the file does not.
    hub_double.fail("GET /content/.*00002-of", slow=60, skip=1, times=None)
    with subprocess.Popen(
        [*CLI, "pull", NAME, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    ) as process:
        deadline = time.monotonic() + 30
        while len(hub_double.lines("GET /content/.*00002-of")) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    said = json.loads(out.splitlines()[-1])["command"] if arguments else err
    assert f"mlxqwen pull {NAME}" in said
    assert "Traceback" not in err


def test_kill_loses_nothing_that_came(env: dict[str, str], hub_double: Any, tmp_path: Path) -> None:
    hub_double.fail("GET /content/.*00002-of", slow=0.3, skip=1, times=None)
    with subprocess.Popen([*CLI, "pull", NAME], stderr=subprocess.DEVNULL, env=env) as process:
        deadline = time.monotonic() + 30
        while not (
            kept := [p for p in tmp_path.glob("hub/*/blobs/*.incomplete") if size(p) >= 65_536]
        ):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()
    came = size(kept[0])
    hub_double.faults.clear()
    hub_double.asked.clear()
    done = subprocess.run([*CLI, "pull", NAME], capture_output=True, text=True, env=env)
    folder = Path(done.stdout.strip())
    files = hub_double.commits[NAME][folder.name]
    for file in folder.iterdir():
        assert file.read_bytes() == files[file.name]
    end = len(files["model-00002-of-00002.safetensors"]) - 1
    assert f"bytes={came}-{end}" in {asked.range for asked in hub_double.asked}
    assert not list(tmp_path.glob("hub/*/blobs/*.incomplete"))


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def test_speed_is_of_late() -> None:
    now = [0.0]
    speed = Speed(lambda: now[0])
    assert speed.of(1000) is None
    for second in range(1, 30):
        now[0] = second
        rate = speed.of(1000 + (second if second < 15 else 15 + 10 * (second - 15)))
    assert rate == pytest.approx(10)
