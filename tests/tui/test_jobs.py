"""Long work as child processes: for real, with a tiny model and a hub on the loopback interface."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from hashlib import sha256

import pytest

from tui.job import Task
from tui.job_events import Failure, Finished, Planned, Progress, Reader, Verified, read_event
from tui.job_process import ask
from tui.jobs import Jobs

NAME = "mlx-community/Qwen3-0.6B-4bit"
STUBBORN = "import signal, sys, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A data folder and a home of the test's own."""
    monkeypatch.setenv("MLXQWEN_HOME", str(tmp_path / "own"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "own").mkdir()
    return tmp_path / "own"


@pytest.fixture
async def jobs(own):
    made = Jobs(own / "jobs")
    yield made
    await made.close()


@pytest.fixture(scope="session")
def big(home, tmp_path_factory):
    """30 MB, which takes a while to round with searched scales."""
    import mlx.core as mx

    from mlxqwen.checkpoint.expected import expected_tensors
    from mlxqwen.model.config import ModelConfig

    tiny = home / "models" / "tiny"
    config = json.loads((tiny / "config.json").read_text())
    config |= {"hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 5}
    config |= {"num_attention_heads": 8, "num_key_value_heads": 4, "torch_dtype": "float32"}
    folder = tmp_path_factory.mktemp("big") / "big"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((tiny / name).read_bytes())
    shapes = list(expected_tensors(ModelConfig.parse(config)))
    keys = mx.random.split(mx.random.key(3), len(shapes))
    tensors = {
        name: mx.random.normal(shape, key=key) * 0.1
        for (name, shape), key in zip(shapes, keys, strict=True)
    }
    mx.save_safetensors(str(folder / "model.safetensors"), tensors, metadata={"format": "pt"})
    return folder


async def until(wanted, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not wanted():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        await asyncio.sleep(0.02)


def files_of(folder):
    return {file.name: sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def quantise(folder, **options):
    given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return Task("quantize", folder.name, (str(folder), *given))


async def test_a_quantisation_runs_beside_the_loop(jobs, own, home):
    seen = []
    jobs.watch(lambda job: seen.append((job.state, job.progress)))
    job = jobs.add(quantise(home / "models" / "tiny", recipe="fast"))
    assert job.state == "running"
    assert not jobs.online
    await until(lambda: not job.active)
    assert (job.state, job.failure) == ("done", None)
    assert job.path == str(own / "models" / "tiny-4bit")
    assert job.planned is not None
    assert job.planned.output_bytes > 0
    assert any(progress is not None and progress.stage == "quantise" for _, progress in seen)
    assert list((own / "jobs").iterdir()) == []
    check = jobs.add(Task("verify", "tiny-4bit", ("tiny-4bit",)))
    await until(lambda: not check.active)
    assert check.verified is not None
    assert check.verified.ok
    assert check.verified.files > 2


async def test_paused_and_resumed_the_result_is_the_same_to_the_bit(jobs, own, big):
    job = jobs.add(quantise(big, output=own / "models" / "paused"))
    await until(lambda: job.progress is not None and job.progress.stage == "quantise")
    jobs.pause(job)
    assert job.state == "ending"
    await until(lambda: job.state == "paused")
    assert (own / "models" / "paused.partial").is_dir()
    assert not (own / "models" / "paused").exists()
    jobs.resume(job)
    straight = jobs.add(quantise(big, output=own / "models" / "straight"))
    assert straight.state == "waiting"  # one heavy thing at a time
    await until(lambda: straight.state == "done", 120)
    assert job.state == "done"
    assert files_of(own / "models" / "paused") == files_of(own / "models" / "straight")


async def test_what_an_earlier_session_left_is_offered_again(own, big):
    first = Jobs(own / "jobs")
    job = first.add(quantise(big, output=own / "models" / "left"))
    await until(lambda: job.progress is not None and job.progress.stage == "quantise")
    began = time.monotonic()
    await first.close()
    assert time.monotonic() - began < 4
    assert job.state == "paused"

    second = Jobs(own / "jobs")
    await second.remember()
    (again,) = second.listed
    assert (again.state, again.task) == ("paused", job.task)
    second.resume(again)
    await until(lambda: again.state == "done", 120)
    await second.close()
    third = Jobs(own / "jobs")
    await third.remember()
    assert third.listed == ()


async def test_damaged_notes_are_no_jobs(own):
    folder = own / "jobs"
    folder.mkdir()
    (folder / "a.json").write_text("{")
    (folder / "b.json").write_text('{"kind": "rm", "name": "x", "arguments": ["x"]}')
    (folder / "c.json").write_text('{"kind": "pull", "name": "x", "arguments": []}')
    (folder / "d.json").write_bytes(b"\xff")
    jobs = Jobs(folder)
    await jobs.remember()
    assert jobs.listed == ()


async def test_only_an_explicit_download_may_use_the_network(jobs, hub_double, tmp_path):
    hub_double.publish_checkpoint(NAME)
    refused = jobs.add(Task("pull", NAME, (NAME,)))
    await until(lambda: not refused.active)
    assert refused.state == "failed"
    assert "HF_HUB_OFFLINE" in refused.failure.what
    assert hub_double.asked == []

    allowed = jobs.add(Task("pull", NAME, (NAME, "--revision", "main"), network=True))
    assert jobs.online
    await until(lambda: not allowed.active)
    assert (allowed.state, allowed.failure) == ("done", None)
    assert not jobs.online
    assert (tmp_path / "hub").is_dir()
    assert allowed.started.total == allowed.progress.done


async def test_a_download_is_paused_and_goes_on(jobs, hub_double):
    hub_double.publish_checkpoint(NAME, hidden_size=256, vocab_size=8192)
    hub_double.fail("GET /content/", times=None, slow=0.2)
    job = jobs.add(Task("pull", NAME, (NAME,), network=True))
    await until(lambda: job.progress is not None and job.progress.done > 100_000)
    jobs.pause(job)
    await until(lambda: job.state == "paused")
    hub_double.faults.clear()
    before = len(hub_double.asked)
    jobs.resume(job)
    await until(lambda: job.state == "done")
    ranges = [asked.range for asked in hub_double.asked[before:] if "/content/" in asked.line]
    assert any(wanted not in ("", "bytes=0-") for wanted in ranges)
    assert job.started.here > 0


async def test_a_failure_has_a_cause_and_can_be_tried_again(jobs, tmp_path):
    job = jobs.add(Task("quantize", "gone", (str(tmp_path / "gone"),)))
    waiting = jobs.add(Task("verify", "guide", ("guide",)))
    await until(lambda: not job.active)
    assert job.state == "failed"
    assert job.failure.kind == "CheckpointError"
    assert "There is no folder" in job.failure.what
    assert jobs.add(job.task) is job
    assert job.state == "waiting"
    await until(lambda: not waiting.active and not job.active)
    assert waiting.verified is not None


async def test_names_are_never_options(jobs):
    job = jobs.add(Task("verify", "--help", ("--help",)))
    await until(lambda: not job.active)
    assert job.state == "failed"
    assert "--help" in job.failure.what


async def test_a_killed_child_says_by_what(jobs, big, own):
    job = jobs.add(quantise(big, output=own / "models" / "killed"))
    await until(lambda: job.progress is not None)
    os.kill(jobs._child._process.pid, signal.SIGKILL)
    await until(lambda: not job.active)
    assert job.state == "failed"
    assert "SIGKILL" in job.failure.what


async def test_one_that_does_not_obey_is_killed(own, monkeypatch):
    monkeypatch.setattr("tui.jobs._PATIENCE", 0.3)
    jobs = Jobs(own / "jobs", (sys.executable, "-c", STUBBORN))
    job = jobs.add(Task("pull", "x", ("x",)))
    await asyncio.sleep(0.5)
    jobs.clear(job)
    await until(lambda: not jobs.listed, 10)
    assert jobs.running is None


async def test_a_command_that_is_not_there(own):
    jobs = Jobs(own / "jobs", ("/nowhere/at/all",))
    job = jobs.add(Task("pull", "x", ("x",)))
    await until(lambda: not job.active)
    assert job.state == "failed"
    assert "No such file" in job.failure.what


def test_the_work_ends_with_the_interface_however_that_ends(own, big):
    """A parent that is killed cannot say goodbye: the pipe does."""
    arguments = ["quantize", str(big), "--output", str(own / "models" / "orphan"), "--json"]
    script = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-m', 'tui.leash', *{arguments!r}],"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)\n"
        "while b'quantise' not in child.stdout.readline(): pass\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 10
    while _lives(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (own / "models" / "orphan.partial").is_dir()


def _lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return stat.stdout.strip()[:1] not in ("", "Z")


async def test_a_dry_run_is_asked_at_once(own, home):
    events = await ask("quantize", (str(home / "models" / "tiny"), "--dry-run", "--context", "4k"))
    (planned,) = [event for event in events if isinstance(event, Planned)]
    assert planned.context == 4096
    assert planned.kinds
    assert planned.fits
    assert not (own / "models").exists()
    (failure,) = await ask("quantize", (str(own / "nothing"), "--dry-run"))
    assert isinstance(failure, Failure)


async def test_a_question_that_nobody_waits_for_ends(own, big):
    asking = asyncio.create_task(ask("verify", (str(big),)))
    await asyncio.sleep(0.5)
    began = time.monotonic()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert time.monotonic() - began < 2


def test_lines_that_say_nothing_are_passed_over():
    reader = Reader()
    assert reader.feed("warning: something\n") is None
    assert reader.feed("[1, 2]\n") is None
    assert reader.feed('{"event": "from the future"}\n') is None
    assert reader.feed('{"event": "done", "path": "/x"}\n') == Finished("/x")


def test_an_object_over_several_lines_is_one():
    found = {"ok": False, "files": 1, "nbytes": 2, "notes": ["n"]}
    found["problems"] = [{"what": "It broke.", "hint": "Mend it."}]
    reader = Reader()
    events = [reader.feed(line + "\n") for line in json.dumps(found, indent=2).splitlines()]
    assert events[:-1] == [None] * (len(events) - 1)
    assert events[-1] == Verified(False, 1, 2, ("It broke. Mend it.",), ("n",))


def test_progress_that_counts_no_bytes_has_a_share_only():
    record = {
        "event": "progress",
        "stage": "calibrate",
        "share": 0.5,
        "total": 8,
        "bytes_read": 0,
        "bytes_read_total": 0,
        "bytes_per_second": None,
        "seconds_left": 3.0,
    }
    assert read_event(record) == Progress("calibrate", 0.5, 0, 0, None, 3.0)
