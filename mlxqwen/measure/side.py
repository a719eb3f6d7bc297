"""One side of a comparison, in a process of its own: ``python -m mlxqwen.measure.side``.

Reads one JSON object from standard input (``side``, ``path``, ``prompt``: token ids, ``tokens``:
how many to generate) and prints one with what it measured. Own imports, own caches and own peak
memory make the figures of two sides comparable.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, cast

from ..errors import MlxqwenError

_Generate = Callable[[Sequence[int], int], Iterator[int]]
# A run before the measured one, so that compilation and first-touch are not in the figures.
_WARM_PROMPT, _WARM_TOKENS = 16, 4


def ours(path: str) -> tuple[_Generate, float, float]:
    """Our runtime: how to generate, seconds to import, seconds to load."""
    start = time.perf_counter()
    from ..checkpoint.load import load
    from ..generate.decode import generate_tokens

    imported = time.perf_counter()
    model, _, _ = load(path)
    loaded = time.perf_counter()

    def generate(prompt: Sequence[int], tokens: int) -> Iterator[int]:
        return generate_tokens(model, prompt, max_tokens=tokens)

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


def measure(side: str, path: str, prompt: Sequence[int], tokens: int) -> dict[str, Any]:
    """Loads, warms up and runs once: greedy, exactly ``tokens`` tokens, no end token heeded."""
    generate, import_s, load_s = SIDES[side](path)
    for _ in generate(prompt[:_WARM_PROMPT], min(tokens, _WARM_TOKENS)):
        pass
    start = time.perf_counter()
    first = start
    answer: list[int] = []
    for token in generate(prompt, tokens):
        if not answer:
            first = time.perf_counter()
        answer.append(token)
    end = time.perf_counter()
    import mlx.core as mx

    return {
        "ttft_s": first - start,
        "decode_s": end - first,
        "import_s": import_s,
        "load_s": load_s,
        "peak_bytes": mx.get_peak_memory(),
        "peak_rss_bytes": _peak_rss(),
        "answer": answer,
    }


def _peak_rss() -> int:
    """Peak resident memory of this process in bytes; Linux counts kilobytes, macOS bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10


def main() -> None:
    """Answers one request; an error of ours becomes ``{"error": …, "hint": …}``, exit status 1."""
    request = json.loads(sys.stdin.read())
    try:
        record = measure(request["side"], request["path"], request["prompt"], request["tokens"])
    except MlxqwenError as error:
        print(json.dumps({"error": error.what, "hint": error.hint}))
        raise SystemExit(1) from None
    print(json.dumps(record))


if __name__ == "__main__":
    main()
