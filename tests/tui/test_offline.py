"""Offline is a fact: nothing that a person does without asking for a download opens a socket.

Every process of a session, the interface's and the engine's, runs under an audit hook of Python's
own, which sees each connection and each name that is looked up whoever asks for it, and denies it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SESSION = Path(__file__).with_name("offline_session.py")
DENIAL = """
import os, sys

def deny(event, arguments):
    if event in WATCHED:
        with open(RECORD, "a") as record:
            record.write(f"{event} {arguments[1:]}\\n")
        raise PermissionError(f"{event} is denied")

WATCHED = {
    "socket.connect", "socket.sendto", "socket.sendmsg", "socket.bind", "socket.getaddrinfo",
    "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo", "urllib.Request",
}
RECORD = %r
with open(RECORD + ".processes", "a") as processes:
    processes.write(" ".join(sys.orig_argv) + "\\n")
sys.addaudithook(deny)
"""
ONLINE = {
    "huggingface_hub",
    "httpx",
    "requests",
    "urllib3",
    "aiohttp",
    "http",
    "hf_xet",
    "filelock",
}
HEAVY = {"mlx", "torch", "transformers", "mlx_lm", "tokenizers", "numpy"}


@pytest.fixture
def denied(tmp_path, home):
    """Run a script where every connection is denied: its output, what it tried, its processes."""
    folder = tmp_path / "denial"
    folder.mkdir()
    record = folder / "record"
    (folder / "sitecustomize.py").write_text(DENIAL % str(record))
    (tmp_path / "models").symlink_to(home / "models")

    def run(*arguments):
        environment = {
            **os.environ,
            "PYTHONPATH": str(folder),
            "MLXQWEN_HOME": str(tmp_path),
            "HF_HUB_CACHE": str(tmp_path / "hub"),
            "LC_ALL": "C.UTF-8",
        }
        environment.pop("HF_HUB_OFFLINE", None)
        done = subprocess.run(
            [sys.executable, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        tried = record.read_text().splitlines() if record.exists() else []
        processes = record.with_suffix(".processes").read_text().splitlines()
        return done, tried, processes

    return run


def test_the_denial_works(denied):
    code = "import urllib.request as r; r.urlopen('http://127.0.0.1:9/')"
    done, tried, _ = denied("-c", code)
    assert done.returncode != 0
    assert any("urllib.Request" in line for line in tried)
    code = "import socket; socket.create_connection(('127.0.0.1', 9))"
    done, tried, processes = denied("-c", code)
    assert "is denied" in done.stderr
    assert any("socket.getaddrinfo" in line for line in tried)
    assert len(processes) == 2


def test_a_session_opens_no_socket(denied):
    done, tried, processes = denied(str(SESSION))
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert tried == []
    assert told["sockets"] == []  # the engine has none of its own, whatever library made it
    assert told["states"] == ["done", "stopped"]
    assert len(told["pages"]) == 8
    assert sum("mlxqwen.engine.worker" in line for line in processes) == 1

    roots = {name.split(".")[0] for name in told["modules"]}
    assert not roots & ONLINE
    assert not roots & HEAVY
