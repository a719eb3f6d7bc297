"""The real hub client against a small hub of our own on the loopback interface."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mlxqwen.errors import ModelNotFound
from mlxqwen.hub.download import hub_id
from mlxqwen.hub.library import resolve

COMMIT = "c" * 40
NAME = "mlx-community/Qwen3-0.6B-4bit"
SCRIPT = """
import json, sys
from mlxqwen.errors import MlxqwenError
from mlxqwen.hub.download import pull
try:
    print(json.dumps({"path": str(pull(sys.argv[1], quiet=True))}))
except MlxqwenError as error:
    print(json.dumps({"kind": type(error).__name__, "what": error.what, "hint": error.hint}))
"""


@dataclass
class Hub:
    """What the double serves, how it misbehaves, and what it was asked for."""

    files: dict[str, bytes]
    url: str = ""
    status: int = 200
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def hub() -> Iterator[Hub]:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    served = Hub(
        {
            "config.json": b'{"model_type": "qwen3"}',
            "tokenizer.json": b"{}",
            "model.safetensors.index.json": json.dumps(index).encode(),
            "model-1.safetensors": b"1" * 5000,
            "model-2.safetensors": b"2" * 5000,
            "modeling_qwen.py": b"raise SystemExit('never fetched')",
            "pytorch_model.bin": b"never fetched",
        }
    )

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            path = self.path.partition("?")[0]
            if served.status != 200:
                # As the hub marks a repository that is absent or private.
                absent = {"X-Error-Code": "RepoNotFound"} if served.status in {401, 404} else {}
                self.reply(served.status, b"{}", body, absent)
            elif path.startswith(f"/api/models/{NAME}/tree/"):
                entries = [
                    {"type": "file", "path": name, "size": len(data), "oid": oid(data)}
                    for name, data in served.files.items()
                ]
                self.reply(200, json.dumps(entries).encode(), body)
            elif path.startswith(f"/api/models/{NAME}"):
                siblings = [{"rfilename": name} for name in served.files]
                info = {"id": NAME, "sha": COMMIT, "siblings": siblings}
                self.reply(200, json.dumps(info).encode(), body)
            elif path.startswith(f"/{NAME}/resolve/{COMMIT}/"):
                self.file(path.rpartition("/")[2], body)
            else:
                self.reply(404, b"{}", body)

        def file(self, name: str, body: bool) -> None:
            if name not in served.files:
                self.reply(404, b"{}", body)
                return
            data = served.files[name]
            if body:
                served.asked.append(name)
            headers = {"ETag": f'"{oid(data)}"', "X-Repo-Commit": COMMIT}
            self.reply(200, data, body, headers)

        def reply(
            self, status: int, data: bytes, body: bool, headers: dict[str, str] | None = None
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Content-Type", "application/json")
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


def oid(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@pytest.fixture
def fetch(hub: Hub, machine: Path) -> Callable[[str], dict[str, str]]:
    """Runs ``pull`` in a process of its own: the client reads the hub's address at import."""

    def run(name: str) -> dict[str, str]:
        environment = os.environ | {
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DOWNLOAD_TIMEOUT": "2",
            "HF_HUB_ETAG_TIMEOUT": "2",
        }
        environment.pop("HF_HUB_OFFLINE", None)
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, name],
            capture_output=True,
            text=True,
            timeout=100,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_a_model_is_fetched_once_and_found_by_every_name(
    hub: Hub, fetch: Callable[[str], dict[str, str]]
) -> None:
    got = fetch("qwen3-0.6b")
    folder = Path(got["path"])
    assert (folder / "model-2.safetensors").read_bytes() == b"2" * 5000
    assert sorted(file.name for file in folder.iterdir()) == [
        "config.json",
        "model-1.safetensors",
        "model-2.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
    ]
    assert resolve("qwen3-0.6b") == resolve(NAME) == folder
    fetched = list(hub.asked)
    assert fetch(NAME) == got
    assert hub.asked == fetched


def test_what_is_here_is_not_fetched_again(
    hub: Hub, fetch: Callable[[str], dict[str, str]]
) -> None:
    folder = Path(fetch(NAME)["path"])
    (folder / "model-2.safetensors").resolve().unlink()
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(ModelNotFound, match=r"model-2\.safetensors is missing"):
        resolve(NAME)
    hub.asked.clear()
    fetch(NAME)
    assert hub.asked == ["model-2.safetensors"]
    assert resolve(NAME) == folder


@pytest.mark.parametrize(
    ("status", "says", "hint"),
    [
        (401, "not for everybody", "hf auth login"),
        (404, "The hub has no", "Check the name"),
        (403, "status 403", "accept its terms"),
        (501, "status 501", "Try again later"),
    ],
)
def test_a_refusal_is_told(
    hub: Hub,
    fetch: Callable[[str], dict[str, str]],
    status: int,
    says: str,
    hint: str,
) -> None:
    hub.status = status
    got = fetch(NAME)
    assert got["kind"] == "HubError"
    assert says in got["what"]
    assert hint in got["hint"]


def test_a_hub_that_is_not_there(hub: Hub, fetch: Callable[[str], dict[str, str]]) -> None:
    hub.url = "http://127.0.0.1:9"
    got = fetch(NAME)
    assert got["kind"] == "HubError"
    assert NAME in got["what"]
    assert "try again" in got["hint"]


def test_a_repository_without_safetensors_is_refused(
    hub: Hub, fetch: Callable[[str], dict[str, str]]
) -> None:
    for name in list(hub.files):
        if "safetensors" in name:
            del hub.files[name]
    got = fetch(NAME)
    assert got["kind"] == "HubError"
    assert "safetensors" in got["what"]


def test_what_an_alias_fetches() -> None:
    assert hub_id("qwen3-0.6b") == NAME
    assert hub_id("Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B"
    assert hub_id("qwen3-coder-480b") == "Qwen/Qwen3-Coder-480B-A35B-Instruct"
    assert hub_id("someone/something") == "someone/something"


def test_a_name_that_means_nothing_is_not_asked_for() -> None:
    with pytest.raises(ModelNotFound, match="No model is called"):
        hub_id("qwen3-0.7")
