"""A model hub on the loopback interface, which misbehaves as it is told to.

It speaks as much of the protocol as the real client uses: what a repository holds, files by commit
with hashes and ranges, large files through a redirect to another host. It comes to tests as the
fixture ``hub_double``.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from mlxqwen.checkpoint.safetensors import layout_header

SMALL: dict[str, Any] = {
    "model_type": "qwen3",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 512,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 1024,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}


@dataclass
class Fault:
    """What happens to the next ``times`` requests (None: to all) whose line matches ``line``.

    The first ``skip`` of them pass. ``line`` is a regular expression for ``METHOD /path``. ``cut``
    breaks the connection after that many bytes of the body; ``slow`` waits so many seconds before
    every 64 KiB; ``swap`` sends other content; ``whole`` ignores that only a range was asked for.
    """

    line: str
    times: int | None = 1
    skip: int = 0
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    cut: int | None = None
    slow: float = 0.0
    swap: bytes | None = None
    whole: bool = False


@dataclass(frozen=True)
class Asked:
    """A request that arrived."""

    line: str
    range: str
    token: str


class HubDouble:
    """The repositories it serves, the faults to come, and what it was asked for."""

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.refs: dict[tuple[str, str], str] = {}
        self.faults: list[Fault] = []
        self.asked: list[Asked] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        double = self

        class Handler(_Handler):
            hub = double

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def publish(self, name: str, files: Mapping[str, bytes], *, branch: str = "main") -> str:
        """Makes a commit with these files, to which ``branch`` then leads."""
        text = "".join(f"{file} {git_hash(data)}\n" for file, data in sorted(files.items()))
        commit = hashlib.sha1((name + text).encode()).hexdigest()
        self.commits.setdefault(name, {})[commit] = dict(files)
        self.refs[name, branch] = commit
        return commit

    def publish_checkpoint(
        self, name: str, *, shards: int = 2, seed: int = 0, **config: Any
    ) -> str:
        """A commit with a complete small checkpoint of random weights."""
        return self.publish(name, checkpoint_files(shards=shards, seed=seed, **config))

    def fail(self, line: str, **how: Any) -> Fault:
        fault = Fault(line, **how)
        self.faults.append(fault)
        return fault

    def lines(self, pattern: str = "") -> list[str]:
        """The requests so far whose line matches."""
        return [asked.line for asked in self.asked if re.search(pattern, asked.line)]

    def take_fault(self, line: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if not re.search(fault.line, line) or fault.times == 0:
                    continue
                if fault.skip:
                    fault.skip -= 1
                else:
                    if fault.times is not None:
                        fault.times -= 1
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    hub: HubDouble

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(self.path.partition("?")[0])
        line = f"{self.command} {path}"
        wanted = self.headers.get("Range", "")
        self.hub.asked.append(Asked(line, wanted, self.headers.get("Authorization", "")))
        fault = self.hub.take_fault(line)
        if fault is not None and fault.status:
            self._reply(fault.status, fault.body, dict(fault.headers), fault)
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self._describe(match[1], match[2] or "main")
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(match[1], match[2], match[3], wanted, fault)
        elif match := re.fullmatch(r"/content/([^/]+/[^/]+)/([^/]+)/(.+)", path):
            data = self.hub.commits[match[1]][match[2]][match[3]]
            self._content(data, {"ETag": f'"{sha256(data)}"'}, wanted, fault)
        else:
            self._reply(404, b"{}", {})

    def _describe(self, name: str, revision: str) -> None:
        commit = self._commit(name, revision)
        if commit is None:
            return
        siblings = [
            {"rfilename": file, "size": len(data), "blobId": git_hash(data)}
            | ({"lfs": _lfs(data)} if is_large(file) else {})
            for file, data in self.hub.commits[name][commit].items()
        ]
        record = {"id": name, "sha": commit, "siblings": siblings}
        self._reply(200, json.dumps(record).encode(), {})

    def _commit(self, name: str, revision: str) -> str | None:
        """The commit; None where the refusal was sent."""
        if name not in self.hub.commits:
            # As the hub speaks of a repository that is absent or private.
            self._reply(401, b"{}", {"X-Error-Code": "RepoNotFound"})
            return None
        commit = self.hub.refs.get((name, revision), revision)
        if commit not in self.hub.commits[name]:
            self._reply(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return None
        return commit

    def _file(self, name: str, revision: str, file: str, wanted: str, fault: Fault | None) -> None:
        commit = self._commit(name, revision)
        if commit is None:
            return
        headers = {"X-Repo-Commit": commit}
        data = self.hub.commits[name][commit].get(file)
        if data is None:
            self._reply(404, b"{}", headers | {"X-Error-Code": "EntryNotFound"})
        elif is_large(file):
            headers |= {
                "X-Linked-Etag": f'"{sha256(data)}"',
                "X-Linked-Size": str(len(data)),
                "ETag": f'"{git_hash(data)}"',
                # Another host, as far as a client can tell: no token may go there.
                "Location": f"http://localhost:{self.hub.port}/content/{name}/{commit}/{file}",
            }
            self._reply(302, b"", headers)
        else:
            self._content(data, headers | {"ETag": f'"{git_hash(data)}"'}, wanted, fault)

    def _content(
        self, data: bytes, headers: dict[str, str], wanted: str, fault: Fault | None
    ) -> None:
        if fault is not None and fault.swap is not None:
            data = fault.swap
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
        if match is None or (fault is not None and fault.whole):
            self._reply(200, data, headers, fault)
            return
        start, stop = int(match[1]), min(int(match[2] or len(data) - 1) + 1, len(data))
        if start >= len(data):
            self._reply(416, b"", headers | {"Content-Range": f"bytes */{len(data)}"})
            return
        headers |= {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"}
        self._reply(206, data[start:stop], headers, fault)

    def _reply(
        self, status: int, data: bytes, headers: dict[str, str], fault: Fault | None = None
    ) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault is not None and fault.cut is not None:
            data = data[: fault.cut]
        try:
            for start in range(0, len(data), 1 << 16):
                if fault is not None and fault.slow:
                    self.hub.closing.wait(fault.slow)
                self.wfile.write(data[start : start + (1 << 16)])
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has had enough
        self.close_connection = True


def is_large(file: str) -> bool:
    """Whether the hub keeps a file in LFS."""
    return file.endswith(".safetensors") or file == "tokenizer.json"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _lfs(data: bytes) -> dict[str, Any]:
    return {"sha256": sha256(data), "size": len(data), "pointerSize": 134}


def _numbers(source: random.Random, size: int) -> bytes:
    """Random bfloat16 numbers of either sign between 0.008 and 0.13."""
    data = bytearray(source.randbytes(size))
    data[1::2] = data[1::2].translate(bytes(0x3C | (byte & 0x81) for byte in range(256)))
    return bytes(data)


def checkpoint_files(*, shards: int = 2, seed: int = 0, **config: Any) -> dict[str, bytes]:
    """The files of a small Qwen3 model whose weights are random."""
    from mlxqwen.checkpoint.expected import expected_tensors
    from mlxqwen.model.config import ModelConfig

    source = random.Random(seed)
    settings = SMALL | config
    shapes = dict(expected_tensors(ModelConfig.parse(settings)))
    names = list(shapes)
    files = {
        "config.json": json.dumps(settings).encode(),
        "generation_config.json": b'{"temperature": 0.6}',
        "tokenizer.json": b'{"version": "1.0"}',
        "tokenizer_config.json": b"{}",
        "LICENSE": b"Apache License",
        "README.md": b"---\nlicense: apache-2.0\n---\n",
        "modeling_qwen.py": b"raise SystemExit('never fetched')",
        "pytorch_model.bin": b"never fetched",
    }
    weight_map: dict[str, str] = {}
    for index in range(shards):
        own = [(name, "BF16", tuple(shapes[name])) for name in names[index::shards]]
        header, _, size = layout_header(own, {"format": "pt"})
        file = (
            "model.safetensors"
            if shards == 1
            else f"model-{index + 1:05}-of-{shards:05}.safetensors"
        )
        files[file] = header + _numbers(source, size - len(header))
        weight_map |= {name: file for name, _, _ in own}
    if shards > 1:
        index = {"metadata": {}, "weight_map": weight_map}
        files["model.safetensors.index.json"] = json.dumps(index).encode()
    return files
