"""The engine as a child process, over real pipes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlxqwen.engine.worker import Worker

COMMAND = [sys.executable, "-m", "mlxqwen.engine.worker"]


class Child:
    """A worker and its pipes."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def send(self, **request: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def until(self, *names: str) -> list[dict[str, Any]]:
        """Events up to and including the first of one of these names."""
        events = [self.read()]
        while events[-1]["event"] not in names:
            events.append(self.read())
        return events


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child()
    yield child
    child.process.kill()
    child.process.communicate()


def test_load_chat_close(child: Child, tiny: Path) -> None:
    child.send(op="load", id=1, model=str(tiny))
    loaded = child.read()
    assert loaded["event"] == "loaded"
    assert loaded["id"] == 1
    assert loaded["context"] == 1024
    assert loaded["thinks"] is True
    assert loaded["description"] == "qwen3, 2 layers"
    assert loaded["notices"] == []
    assert 0 < loaded["bytes"] < loaded["budget"]
    child.send(op="load", id=3, model=str(tiny), context=2048)
    (notice,) = child.read()["notices"]
    assert "YaRN is on with factor 2" in notice
    messages = [{"role": "user", "content": "Ciao"}]
    child.send(op="chat", id=2, messages=messages, sampling={"seed": 1}, max_tokens=5)
    events = child.until("done", "error")
    assert events[-1]["event"] == "done"
    assert {event["id"] for event in events} == {2}
    child.send(op="close")
    assert child.process.wait(5) == 0


def test_errors_are_events_and_the_process_lives_on(child: Child, tiny: Path) -> None:
    child.send(op="chat", id=1, messages=[])
    assert child.read()["kind"] == "EngineError"
    child.send(op="load", id=2, model="no/such-model")
    assert child.read()["kind"] == "ModelNotFound"
    child.send(op="dance", id=3)
    assert "dance" in child.read()["what"]
    assert child.process.stdin is not None
    child.process.stdin.write(b"{broken\n")
    child.process.stdin.flush()
    assert child.read()["id"] is None
    for damaged in ([], {"op": "cancel"}, {"op": "chat", "id": "2"}):
        child.process.stdin.write(json.dumps(damaged).encode() + b"\n")
        child.process.stdin.flush()
        assert "id" in child.read()["what"]
    child.send(op="load", id=4, model=str(tiny))
    assert child.read()["event"] == "loaded"
    child.send(op="chat", id=5, messages="hi", sampling={"temperature": -1})
    assert "temperature" in child.read()["what"]
    child.send(op="chat", id=6, messages="hi", sampling={"heat": 1})
    assert child.read()["kind"] == "UsageError"


def test_cancel_overtakes(child: Child, tiny: Path) -> None:
    child.send(op="load", id=1, model=str(tiny))
    child.read()
    child.send(op="chat", id=2, messages="hi", max_tokens=900, sampling={"seed": 3})
    child.until("text", "thinking")
    child.send(op="cancel", id=2)
    assert child.until("done")[-1]["reason"] == "cancelled"


def test_interrupt_from_the_terminal_is_the_parents_business(child: Child, tiny: Path) -> None:
    child.send(op="load", id=1, model=str(tiny))
    child.read()
    child.process.send_signal(signal.SIGINT)
    child.send(op="chat", id=2, messages="hi", max_tokens=2)
    assert child.until("done", "error")[-1]["event"] == "done"


def test_a_forecast_overtakes_a_run_and_older_forecasts(child: Child, tiny: Path) -> None:
    child.send(op="forecast", id=1, messages=[{"role": "user", "content": "hi"}])
    assert child.read()["kind"] == "EngineError"
    child.send(op="load", id=2, model=str(tiny))
    child.read()
    child.send(op="chat", id=3, messages="hi", max_tokens=900, sampling={"seed": 3})
    child.until("text", "thinking")
    for draft in range(4, 40):
        child.send(op="forecast", id=draft, messages=[{"role": "user", "content": "x" * draft}])
    found = child.until("forecast")[-1]
    while found["id"] != 39:
        assert found["draft_tokens"] == found["id"]
        found = child.until("forecast")[-1]
    assert found["prompt_tokens"] > found["draft_tokens"] == 39
    assert found["context"] == 1024
    assert found["advice"] == ""
    assert 0 < found["needed"] <= found["needed_at_most"] < found["budget"]
    child.send(op="forecast", id=40, messages=["hi"])
    assert child.until("error")[-1]["kind"] == "UsageError"
    child.send(op="forecast", id=41, messages="hi")
    child.until("forecast")
    child.send(op="cancel", id=3)
    assert child.until("done")[-1]["reason"] == "cancelled"


def test_a_thinking_budget(child: Child, tiny: Path) -> None:
    child.send(op="load", id=1, model=str(tiny))
    child.read()
    # The model never ends a thought by itself: what follows it was brought about by the budget.
    child.send(op="chat", id=2, messages="hi", think=5, max_tokens=300, sampling={"seed": 3})
    events = child.until("done", "error")
    assert events[-1]["usage"]["thinking_tokens"] < 200
    assert any(event["event"] == "text" for event in events)


def test_a_path_that_is_no_unicode(child: Child, tiny: Path, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/mod\xe8le"
    shutil.copytree(os.fsencode(tiny), odd)
    name = os.fsdecode(odd)
    assert child.process.stdin is not None
    child.send(op="load", id=1, model=name)
    loaded = child.read()
    assert loaded["event"] == "loaded", loaded
    assert os.fsencode(loaded["path"]) == odd
    child.send(op="load", id=2, model=name + "x")
    assert name in child.read()["what"]
    child.send(op="load", id=3, model=str(tiny))
    child.read()
    child.send(op="chat", id=4, messages="\udce8", max_tokens=3)
    assert child.until("done", "error")[-1]["event"] == "done"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[malloc_or_wait] Unable to allocate 34359738368 bytes."),
        RuntimeError("[METAL] Command buffer execution failed: Insufficient Memory (00000008)"),
        RuntimeError("cudaMallocAsync(&data, size, stream) failed: out of memory"),
        RuntimeError("[METAL] Command buffer execution failed: Internal Error (0000000e)"),
    ],
)
def test_what_goes_wrong_in_mlx_unloads_the_model(tiny: Path, monkeypatch, error) -> None:
    written: list[dict[str, Any]] = []
    worker = Worker(written.append)
    worker.serve({"op": "load", "id": 1, "model": str(tiny)})

    def fail(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("mlxqwen.engine.engine.generate", fail)
        worker.serve({"op": "chat", "id": 2, "messages": "hi"})
    failed = written[-1]
    assert (failed["id"], failed["kind"]) == (2, "EngineError")
    assert ("smaller model" in failed["hint"]) == ("Internal" not in str(error))
    assert "unloaded" in failed["what"] + failed["hint"]
    worker.serve({"op": "chat", "id": 3, "messages": "hi"})
    assert written[-1]["what"] == "No model is loaded."
    worker.serve({"op": "load", "id": 4, "model": str(tiny)})
    worker.serve({"op": "chat", "id": 5, "messages": "hi", "max_tokens": 2})
    assert written[-1]["event"] == "done"
    worker.serve({"op": "load", "id": 6, "model": "no/such-model"})  # lets the engine go


# A parent that starts a worker on a prompt of 100,000 tokens and says its process id.
PARENT = """
import json, subprocess, sys, time
child = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
def send(**request):
    child.stdin.write(json.dumps(request).encode() + b"\\n"); child.stdin.flush()
send(op="load", id=1, model=sys.argv[1], context=200_000)
child.stdout.readline()
send(op="chat", id=2, messages=[{"role": "user", "content": "a" * 100_000}])
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    if status.exists():
        return status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not Path("/proc").exists()


def test_a_killed_parent_takes_the_worker_along_in_mid_prefill(tiny: Path, tmp_path: Path) -> None:
    patient = tmp_path / "patient"  # the same model, with positions for so long a prompt
    shutil.copytree(tiny, patient)
    config = json.loads((patient / "config.json").read_text())
    (patient / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 200_000}))
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(patient), *COMMAND], stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    time.sleep(0.3)  # prefill of 100,000 tokens takes far longer
    assert alive(pid)
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 1.0
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(pid)
