"""Ends a quantisation at every step that it takes on the disk, and lets the next run go on.

A program of its own, because its children are forked: they import nothing again, and a process in
which MLX has computed cannot be forked. It prints one JSON object. A step is a call that changes
files or makes them stable. A child dies before a step, in the middle of a write, or by power loss:
then what was not synced is undone, all of it or a part. Or a step fails once as on a full disk.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import random
import shutil
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from doubles import Remote

from mlxqwen.errors import OutputError
from quantize import pipeline
from quantize.partial import PartialFolder
from quantize.plan import make_plan

DIED, FAILED = 77, 78
STEPS = """open write pwrite fsync rename replace unlink remove mkdir rmdir ftruncate
    posix_fallocate""".split()
REAL: dict[str, Callable[..., Any]] = {n: vars(os)[n] for n in STEPS if n in vars(os)}
CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Fault:
    """What happens at step ``at``: ``none``, ``before``, ``torn``, ``power``, ``some`` or ``full``.

    Args:
        trash: A folder on the same disk, for what a power loss brings back.
    """

    def __init__(self, kind: str, at: int, trash: Path) -> None:
        self.kind, self.at, self.trash = kind, at, trash
        self.steps: list[str] = []
        self._lock = threading.RLock()
        # (scope, undo) of what a power loss may take back, in order; a sync of the scope keeps it.
        self._data: list[tuple[int, Callable[[], object]]] = []
        self._names: list[tuple[set[int], Callable[[], object]]] = []
        self._copies: dict[int, int] = {}

    def install(self) -> None:
        for name, real in REAL.items():
            setattr(os, name, functools.partial(self._step, name, real))

    def _step(self, name: str, real: Callable[..., Any], *args: Any, **keywords: Any) -> Any:
        if name == "open" and not args[1] & CHANGES:
            return real(*args, **keywords)
        with self._lock:
            number = len(self.steps)
            self.steps.append(name)
            if number == self.at:
                if self.kind == "full":
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if self.kind == "torn" and name in ("write", "pwrite"):
                    data = memoryview(args[1])
                    real(args[0], data[: len(data) // 2], *args[2:])
                self._die()
            if self.kind in ("power", "some"):
                return self._remembered(name, real, args, keywords)
            return real(*args, **keywords)

    def _die(self) -> None:
        if self.kind in ("power", "some"):
            dice = random.Random(self.at)
            part = self.kind == "some"
            for _, undo in reversed(self._data):
                if not part or dice.random() < 0.5:
                    undo()
            # Names reach the disk in order, so a power loss takes the last ones.
            kept = dice.randint(0, len(self._names)) if part else 0
            for _, undo in reversed(self._names[kept:]):
                # What lay in a folder whose removal was synced cannot come back.
                with contextlib.suppress(FileNotFoundError):
                    undo()
        os._exit(DIED)

    def _remembered(self, name: str, real: Any, args: Any, keywords: Any) -> Any:
        if name == "fsync":
            scope = os.fstat(args[0]).st_ino
            self._data = [entry for entry in self._data if entry[0] != scope]
            self._names = [entry for entry in self._names if entry[0] - {scope}]
            for scopes, _ in self._names:
                scopes.discard(scope)
            return real(*args, **keywords)
        if name in ("write", "pwrite", "ftruncate", "posix_fallocate"):
            self._remember_data(args[0])
            return real(*args, **keywords)
        path = self._path(args[0], keywords)
        if name == "open":
            if path.exists():
                if args[1] & os.O_TRUNC:
                    descriptor = REAL["open"](path, os.O_RDWR)
                    self._remember_data(descriptor)
                    os.close(descriptor)
            else:
                self._name([path.parent], lambda: path.unlink(missing_ok=True))
        elif name == "mkdir":
            if not path.exists():
                self._name([path.parent], lambda: shutil.rmtree(path, ignore_errors=True))
        elif name in ("unlink", "remove"):
            if path.exists():
                copy = self.trash / f"{len(self.steps)}"
                os.link(path, copy)
                self._name([path.parent], lambda: path.exists() or REAL["rename"](copy, path))
        elif name == "rmdir":
            self._name([path.parent], lambda: path.exists() or REAL["mkdir"](path))
        elif name in ("rename", "replace"):
            target = Path(os.fspath(args[1]))
            self._name(
                [path.parent, target.parent],
                lambda: target.exists() and REAL["rename"](target, path),
            )
        return real(*args, **keywords)

    def _remember_data(self, descriptor: int) -> None:
        """The whole content: files are small here."""
        inode = os.fstat(descriptor).st_ino
        if inode not in self._copies:
            self._copies[inode] = REAL["open"](f"/proc/self/fd/{descriptor}", os.O_RDWR)
        copy = self._copies[inode]
        size = os.fstat(copy).st_size
        before = os.pread(copy, size, 0)

        def undo() -> None:
            REAL["ftruncate"](copy, size)
            REAL["pwrite"](copy, before, 0)

        self._data.append((inode, undo))

    def _name(self, folders: list[Path], undo: Callable[[], object]) -> None:
        self._names.append(({folder.stat().st_ino for folder in folders}, undo))

    @staticmethod
    def _path(path: Any, keywords: Any) -> Path:
        folder = keywords.get("dir_fd")
        if folder is None:
            return Path(os.fspath(path))
        return Path(f"/proc/self/fd/{folder}").readlink() / os.fspath(path)


class Bench:
    """Runs one job again and again in folders below ``root``."""

    def __init__(self, source: Path, root: Path, *, discards: bool) -> None:
        self.source, self.root, self.discards = source, root, discards
        self.output = root / "out"
        self.trash = root / "trash"

    def quantise(self) -> None:
        if not self.discards:
            pipeline.quantise(self.source, self.output)
            return
        with PartialFolder(self.output) as folder:
            pipeline.quantise(Remote(self.source, folder.source), folder)

    def run(self, kind: str = "none", at: int = -1) -> tuple[int, list[str]]:
        """Fork, and quantise with a fault; the exit status and the steps taken or the error."""
        reader, writer = os.pipe()
        child = os.fork()
        if child:
            os.close(writer)
            with os.fdopen(reader) as pipe:
                text = pipe.read()
            _, status = os.waitpid(child, 0)
            return os.waitstatus_to_exitcode(status), json.loads(text or "[]")
        code = 1
        fault = Fault(kind, at, self.trash)
        fault.install()
        told = fault.steps
        try:
            self.quantise()
            code = 0
        except OutputError as error:
            code, told = FAILED, [str(error)]
        finally:
            if code == 1:
                told = [traceback.format_exc()]
            REAL["write"](writer, json.dumps(told).encode())
            os._exit(code)

    def clear(self) -> None:
        for entry in self.root.iterdir():
            shutil.rmtree(entry)
        self.trash.mkdir()

    def snapshot(self, folder: Path) -> dict[str, str]:
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }

    def fault_of(self, expected: dict[str, str], *, finished: bool) -> str:
        """What is wrong with what lies there; "" if nothing."""
        if self.output.exists() and self.snapshot(self.output) != expected:
            return "something unfinished has the final name"
        if finished:
            left = {path.name for path in self.root.iterdir()} - {"trash"}
            return "" if left == {"out"} else f"left: {sorted(left)}"
        files = self.root / "out.partial" / "output"
        if (files / "config.json").exists() and self.snapshot(files) != expected:
            torn = (files / "config.json").read_bytes()
            if hashlib.sha256(torn).hexdigest() == expected["config.json"]:
                return "something unfinished looks like a model"
        return ""

    def point(self, kind: str, at: int, expected: dict[str, str], then: int = -1) -> str:
        """Fail at a step, perhaps die again at step ``then``, and go on; what is wrong, or ""."""
        self.clear()
        code, told = self.run(kind, at)
        # Threads race for shards, so a run may have a step less than the one that was counted.
        missed = code == 0 and len(told) <= at
        if not missed and code not in ((FAILED, 0) if kind == "full" else (DIED,)):
            return f"status {code}: {told}"
        if wrong := self.fault_of(expected, finished=False):
            return wrong
        if then >= 0:
            code, told = self.run("before", then)
            if code not in (DIED, 0, FAILED):
                return f"second status {code}: {told}"
        done = self.output.exists() and not (self.root / "out.partial").exists()
        code, told = self.run()
        said = done and code == FAILED and "finished" in told[0]
        if code != 0 and not said:
            return f"status {code} on resuming: {told}"
        return self.fault_of(expected, finished=True)


def main() -> None:
    source, root, kind, discards, stride = sys.argv[1:]
    pipeline.CHUNK_BYTES = 12_000
    pipeline.BATCH_BYTES = 20_000
    pipeline.make_plan = functools.partial(make_plan, max_shard_bytes=60_000)
    bench = Bench(Path(source), Path(root), discards=discards == "discard")
    bench.clear()
    code, steps = bench.run()
    assert code == 0, steps
    expected = bench.snapshot(bench.output)
    bad: dict[str, str] = {}
    points = 0
    for at in range(0, len(steps), int(stride)):
        if kind == "torn" and steps[at] not in ("write", "pwrite"):
            continue
        then = random.Random(at).randrange(len(steps)) if kind == "twice" else -1
        points += 1
        wrong = bench.point("before" if kind == "twice" else kind, at, expected, then)
        if wrong:
            bad[f"{at} {steps[at]}"] = wrong
    told = {"steps": len(steps), "kinds": sorted(set(steps)), "points": points, "bad": bad}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
