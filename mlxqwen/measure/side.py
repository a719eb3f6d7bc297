"""One side of a comparison, in a process of its own: ``python -m mlxqwen.measure.side``.

Reads one JSON object from standard input and prints one. With ``side``, ``path``, ``prompt`` (token
ids) and ``tokens`` (how many to generate) it runs and says what that took; own imports, own caches
and own peak memory make the figures of two sides comparable. With ``side``, ``path`` and
``context`` it counts the GPU launches of a step instead, computing nothing.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from statistics import median
from typing import Any, cast

from ..errors import MlxqwenError

_Generate = Callable[[Sequence[int], int], Iterator[int]]
# A run before the measured one, so that compilation and first-touch are not in the figures.
_WARM_PROMPT, _WARM_TOKENS = 16, 4


def ours(path: str) -> tuple[_Generate, float, float]:
    """Our runtime: how to generate, seconds to import, seconds to load."""
    start = time.perf_counter()
    from ..checkpoint.load import load
    from ..device import wire_memory
    from ..generate.decode import generate_tokens
    from ..hub.places import kernel_record
    from ..model.trial import fused_model

    imported = time.perf_counter()
    wire_memory()
    model, _, _ = load(path)
    fused = fused_model(model, kernel_record())
    loaded = time.perf_counter()

    def generate(prompt: Sequence[int], tokens: int) -> Iterator[int]:
        return generate_tokens(model, prompt, max_tokens=tokens, fused=fused)

    return generate, imported - start, loaded - imported


def theirs(path: str) -> tuple[_Generate, float, float]:
    """mlx-lm: the loop below its text interface, with the wired limit that interface sets."""
    start = time.perf_counter()
    import mlx.core as mx
    import mlx_lm

    # The package's attribute of this name is a function; its functions have no complete types.
    loop: Any = import_module("mlx_lm.generate")
    imported = time.perf_counter()
    model: Any = cast(Any, mlx_lm).load(path)[0]
    loaded = time.perf_counter()

    def generate(prompt: Sequence[int], tokens: int) -> Iterator[int]:
        with loop.wired_limit(model, [loop.generation_stream]):
            for token, _ in loop.generate_step(mx.array(list(prompt)), model, max_tokens=tokens):
                yield int(token)

    return generate, imported - start, loaded - imported


SIDES: dict[str, Callable[[str], tuple[_Generate, float, float]]] = {
    "mlxqwen": ours,
    "mlx-lm": theirs,
}


class HandOver:
    """Stands before ``mx.async_eval`` and times a decode loop from outside, whatever the loop.

    Between being asked for a token and calling ``mx.async_eval`` a loop builds the next step's
    graph; the call hands it over. Building is counted in processor time of this thread, so that
    other processes do not show in it; handing over by the clock, because it may have to wait.
    """

    def __init__(self, evaluate: Callable[..., None]) -> None:
        self._evaluate = evaluate
        self._asked = 0.0
        self._built = 0.0
        self._handed = 0.0
        self._calls = 0
        self.steps: list[tuple[float, float]] = []

    def __call__(self, *arrays: Any) -> None:
        """In place of ``mx.async_eval``."""
        self._built += time.thread_time() - self._asked
        start = time.perf_counter()
        self._evaluate(*arrays)
        self._handed += time.perf_counter() - start
        self._asked = time.thread_time()
        self._calls += 1

    def ask(self) -> None:
        """A token is about to be asked for."""
        self._asked, self._built, self._handed, self._calls = time.thread_time(), 0.0, 0.0, 0

    def answered(self) -> None:
        """It is there; a step that was handed over meanwhile is noted."""
        if self._calls:
            self.steps.append((self._built, self._handed))


@contextmanager
def handing_over() -> Generator[HandOver]:
    """Puts a ``HandOver`` in place of ``mx.async_eval``."""
    import mlx.core as mx

    real = cast("Callable[..., None]", mx.async_eval)
    clock = HandOver(real)
    mx.async_eval = clock
    try:
        yield clock
    finally:
        mx.async_eval = real


def measure(side: str, path: str, prompt: Sequence[int], tokens: int) -> dict[str, Any]:
    """Loads, warms up and runs once: greedy, exactly ``tokens`` tokens, no end token heeded."""
    generate, import_s, load_s = SIDES[side](path)
    for _ in generate(prompt[:_WARM_PROMPT], min(tokens, _WARM_TOKENS)):
        pass
    answer: list[int] = []
    with handing_over() as clock:
        start = time.perf_counter()
        first = start
        answers = generate(prompt, tokens)
        clock.ask()
        for token in answers:
            if not answer:
                first = time.perf_counter()
            answer.append(token)
            clock.answered()
            clock.ask()
        end = time.perf_counter()
    import mlx.core as mx

    # The first step was handed over with the prompt.
    steps = clock.steps[1:]
    return {
        "ttft_s": first - start,
        "decode_s": end - first,
        "import_s": import_s,
        "load_s": load_s,
        "build_s": median(built for built, _ in steps) if steps else 0.0,
        "submit_s": median(handed for _, handed in steps) if steps else 0.0,
        "peak_bytes": mx.get_peak_memory(),
        "peak_rss_bytes": _peak_rss(),
        "answer": answer,
    }


def count(side: str, path: str, context: int) -> dict[str, Any]:
    """The launches of one step on Metal: per token, per layer, by kind, and each of them.

    ``metal_build_ms_per_token`` is what the host needs to build Metal's graph, fused and compiled
    as it would be there; ``measure`` times the loop as it runs on this machine instead.
    """
    from .metal import plan_launches
    from .steps import trace_side

    traced = trace_side(side, path, context)
    once, twice = plan_launches(traced.once), plan_launches(traced.twice)
    return {
        "kernels_per_token": len(once.launches),
        "kernels_per_layer": (len(twice.launches) - len(once.launches)) / traced.layers,
        "metal_build_ms_per_token": traced.build_s * 1000,
        "operations_per_layer": (twice.operations - once.operations) / traced.layers,
        "launches": once.table(),
        "list": [str(launch) for launch in once.launches],
    }


def _peak_rss() -> int:
    """Peak resident memory of this process in bytes; Linux counts kilobytes, macOS bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def main() -> None:
    """Answers one request; an error of ours becomes ``{"error": …, "hint": …}``, exit status 1."""
    request = json.loads(sys.stdin.read())
    try:
        if "context" in request:
            record = count(request["side"], request["path"], request["context"])
        else:
            record = measure(request["side"], request["path"], request["prompt"], request["tokens"])
    except MlxqwenError as error:
        print(json.dumps({"error": error.what, "hint": error.hint}))
        raise SystemExit(1) from None
    print(json.dumps(record))


if __name__ == "__main__":
    main()
