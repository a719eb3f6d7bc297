"""How fast a model runs here, alone or beside mlx-lm on the same files in the same run.

Each repeat of each side is a process of its own, in turns A B A B: what slows the machine for a
while slows both. The same token ids go in; both decode greedily and generate exactly as many
tokens, whatever those are. Figures are medians over the repeats.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from ..checkpoint.directory import Directory
from ..engine.memory import plan
from ..errors import DoesNotFit, EngineError, UsageError
from ..hub.library import resolve
from ..model.config import ModelConfig
from .machine import probe_mlx
from .traffic import bandwidth, bytes_per_token, gpu_cores

PEERS = ("mlx-lm",)
# Launches are counted with so many tokens in the cache.
_COUNTED_AT = 512
_COUNTS = (
    "kernels_per_token",
    "kernels_per_layer",
    "operations_per_layer",
    "metal_build_ms_per_token",
)


@dataclass(frozen=True, slots=True)
class Figures:
    """What one side took.

    Attributes:
        ttft_ms: From handing over the prompt to the first token, in milliseconds.
        prefill_tok_s: Tokens of the prompt over that time.
        decode_tok_s: Tokens per second after the first; 0 where there was only one.
        peak_bytes: Most bytes that MLX's arrays took at once.
        peak_rss_bytes: Most memory that the process had resident.
        import_s, load_s: Seconds to import the library, and to load model and tokenizer.
        build_ms_per_token: Host time to build the graph of a step, in the loop as it runs here.
        metal_build_ms_per_token: The same for the graph that Metal would get, built again and again
            without waiting for any of it; None where the step could not be traced.
        submit_ms_per_token: Host time to hand it to the device; on the CPU, which computes on the
            host's own cores, this is mostly waiting for the step before.
        bytes_per_token: What decoding a token reads of weights and cache, half of the answer given.
        bandwidth_share: Those bytes at that speed, of what the chip's memory can give; None where
            that is not known.
        kernels_per_token, kernels_per_layer: GPU launches of a step on Metal at a context of 512,
            and of a layer of it on average; see ``launches``. None where they could not be counted.
        operations_per_layer: The same without copies, second passes and parts of concatenations.
        launches: Launches per token by kind.
    """

    ttft_ms: float
    prefill_tok_s: float
    decode_tok_s: float
    peak_bytes: int
    peak_rss_bytes: int
    import_s: float
    load_s: float
    build_ms_per_token: float
    submit_ms_per_token: float
    bytes_per_token: int
    bandwidth_share: float | None
    kernels_per_token: int | None
    kernels_per_layer: float | None
    operations_per_layer: float | None
    metal_build_ms_per_token: float | None
    launches: Mapping[str, int]

    def numbers(self) -> dict[str, float | None]:
        """Every figure by name, without the table."""
        record = asdict(self)
        del record["launches"]
        return record

    def to_json(self) -> dict[str, Any]:
        """The fields by name."""
        return self.numbers() | {"launches": dict(self.launches)}


@dataclass(frozen=True, slots=True)
class BenchResult:
    """Figures of a model, and of a peer where one was asked for.

    Attributes:
        ratio: Ours over the peer's, key by key; None where either is not known, empty without a
            peer.
        same_tokens: How many tokens of the two answers agree before the first that differs.
    """

    model: str
    path: Path
    device: str
    backend: str
    prompt_tokens: int
    tokens: int
    repeats: int
    ours: Figures
    against: str | None = None
    peer: Figures | None = None
    ratio: Mapping[str, float | None] = field(default_factory=dict[str, float | None])
    same_tokens: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Our figures at the top; with a peer also ``peer`` (the same keys) and ``ratio``."""
        record: dict[str, Any] = {
            "model": self.model,
            "path": str(self.path),
            "device": self.device,
            "backend": self.backend,
            "prompt_tokens": self.prompt_tokens,
            "tokens": self.tokens,
            "repeats": self.repeats,
            **self.ours.to_json(),
        }
        if self.peer is not None:
            record |= {
                "against": self.against,
                "peer": self.peer.to_json(),
                "ratio": dict(self.ratio),
                "same_tokens": self.same_tokens,
            }
        return record


def run_bench(
    model: str,
    *,
    prompt: int = 512,
    tokens: int = 128,
    against: str | None = None,
    repeats: int = 3,
    label: str | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> BenchResult:
    """Measures ``model``: a name that ``resolve`` knows, or a folder.

    Args:
        prompt: Tokens to read. Their ids are random, the same in every run.
        tokens: Tokens to generate.
        against: ``"mlx-lm"`` measures it too, in turns with ours.
        repeats: Runs of each side.
        label: What the result calls the model, in place of ``model``.
        on_progress: Called before each run with the side's name, runs done, and runs in all.

    Raises:
        UsageError: A number below 1, an unknown peer, or more tokens than the model's context.
        DoesNotFit: The model needs more memory than this machine gives.
        EngineError: A side could not run the model; the message says which and why.
        ModelNotFound, CheckpointError, UnsupportedModel: As ``resolve`` and ``load`` raise them.
    """
    _check(prompt=prompt, tokens=tokens, repeats=repeats, against=against)
    path = resolve(model)
    directory = Directory.open(path)
    config = ModelConfig.parse(directory.config)
    if prompt + tokens > config.max_position_embeddings:
        raise UsageError(
            f"{prompt} tokens in and {tokens} out exceed the model's context of "
            f"{config.max_position_embeddings}.",
            "Ask for fewer.",
        )
    needed = plan(path, context=prompt + tokens)
    if not needed.fits:
        raise DoesNotFit(needed.why, "Choose a smaller model, or fewer bits.")
    ids = prompt_ids(prompt, config.vocab_size)
    sides = ("mlxqwen",) if against is None else ("mlxqwen", against)
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for turn in range(repeats):
        for place, side in enumerate(sides):
            if on_progress is not None:
                on_progress(side, turn * len(sides) + place, repeats * len(sides))
            runs[side].append(run_side(side, path, ids, tokens))
    here = probe_mlx()
    limit = bandwidth(here.device, gpu_cores())
    figures: dict[str, Figures] = {}
    for side in sides:
        width = 4 if side == "mlxqwen" and here.backend == "cpu" else None
        read = bytes_per_token(directory, config, prompt + tokens // 2, width=width)
        counted = _counted(side, path, config)
        figures[side] = _figures(runs[side], prompt, tokens, read, limit, counted)
    ours = figures["mlxqwen"]
    peer = figures[against] if against is not None else None
    return BenchResult(
        model=label or model,
        path=path,
        device=here.device,
        backend=here.backend,
        prompt_tokens=prompt,
        tokens=tokens,
        repeats=repeats,
        ours=ours,
        against=against,
        peer=peer,
        ratio=_ratio(ours, peer) if peer is not None else {},
        same_tokens=_agreeing(runs["mlxqwen"][0]["answer"], runs[against][0]["answer"])
        if against is not None
        else None,
    )


@dataclass(frozen=True, slots=True)
class MetalPlan:
    """The launches of one step on Metal, ours and a peer's; counts as ``Figures`` names them."""

    model: str
    context: int
    ours: Mapping[str, Any]
    against: str | None = None
    peer: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Our counts at the top with ``list``, every launch in order; with a peer also ``peer``."""
        record = {"model": self.model, "context": self.context, **self.ours}
        return (
            record if self.peer is None else record | {"against": self.against, "peer": self.peer}
        )


def metal_plan(model: str, *, against: str | None = None, label: str | None = None) -> MetalPlan:
    """Counts launches without running anything, on any machine; arguments as of ``run_bench``.

    Raises:
        EngineError: A side could not be traced.
        UsageError, ModelNotFound, CheckpointError, UnsupportedModel: As ``run_bench``.
    """
    _check(against=against)
    path = resolve(model)
    config = ModelConfig.parse(Directory.open(path).config)
    context = _counting_context(config)
    ours = count_side("mlxqwen", path, context)
    peer = count_side(against, path, context) if against is not None else None
    return MetalPlan(label or model, context, ours, against, peer)


def count_side(side: str, path: Path, context: int) -> dict[str, Any]:
    """Counts the launches of ``side`` in a fresh process. Raises ``EngineError`` if it fails."""
    return _ask(side, path, {"context": context})


def _counted(side: str, path: Path, config: ModelConfig) -> dict[str, Any]:
    """The counts, or None for each: that a graph cannot be traced must not lose the timings."""
    try:
        return count_side(side, path, _counting_context(config))
    except EngineError:
        return dict.fromkeys(_COUNTS) | {"launches": {}}


def _counting_context(config: ModelConfig) -> int:
    return min(_COUNTED_AT, config.max_position_embeddings)


def prompt_ids(count: int, vocab_size: int) -> list[int]:
    """``count`` random token ids, always the same ones: experts are chosen as by real text."""
    draw = random.Random(20250428)
    return [draw.randrange(vocab_size) for _ in range(count)]


def run_side(side: str, path: Path, prompt: list[int], tokens: int) -> dict[str, Any]:
    """One run of ``side`` in a fresh process. Raises ``EngineError`` where it fails."""
    return _ask(side, path, {"prompt": prompt, "tokens": tokens})


def _ask(side: str, path: Path, asked: Mapping[str, Any]) -> dict[str, Any]:
    request = {"side": side, "path": str(path), **asked}
    done = subprocess.run(
        [sys.executable, "-m", "mlxqwen.measure.side"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    # A library may print before the last line, which is ours.
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        return json.loads(lines[-1])
    if done.returncode == 1 and lines and lines[-1].startswith('{"error"'):
        error = json.loads(lines[-1])
        raise EngineError(error["error"], error["hint"])
    if done.returncode < 0:
        why = f"it was ended by signal {-done.returncode}"
    else:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        why = said[-1] if said else f"exit status {done.returncode}"
    raise EngineError(
        f"{side} could not run {path}: {why}",
        "Without --against only mlxqwen is measured." if side != "mlxqwen" else "",
    )


def _check(*, against: str | None, **numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise UsageError(f"{name} is {value}; it must be at least 1.")
    if against is not None and against not in PEERS:
        raise UsageError(
            f"mlxqwen cannot be measured against {against!r}.", f"Known: {', '.join(PEERS)}."
        )


def _figures(
    runs: list[dict[str, Any]],
    prompt: int,
    tokens: int,
    read: int,
    limit: float | None,
    counted: Mapping[str, Any],
) -> Figures:
    ttft = median(run["ttft_s"] for run in runs)
    decode = median(run["decode_s"] for run in runs)
    speed = (tokens - 1) / decode if tokens > 1 else 0.0
    return Figures(
        ttft_ms=ttft * 1000,
        prefill_tok_s=prompt / ttft,
        decode_tok_s=speed,
        peak_bytes=max(run["peak_bytes"] for run in runs),
        peak_rss_bytes=max(run["peak_rss_bytes"] for run in runs),
        import_s=median(run["import_s"] for run in runs),
        load_s=median(run["load_s"] for run in runs),
        build_ms_per_token=median(run["build_s"] for run in runs) * 1000,
        submit_ms_per_token=median(run["submit_s"] for run in runs) * 1000,
        bytes_per_token=read,
        bandwidth_share=None if limit is None else speed * read / limit,
        kernels_per_token=counted["kernels_per_token"],
        kernels_per_layer=counted["kernels_per_layer"],
        operations_per_layer=counted["operations_per_layer"],
        metal_build_ms_per_token=counted["metal_build_ms_per_token"],
        launches=counted["launches"],
    )


def _ratio(ours: Figures, theirs: Figures) -> dict[str, float | None]:
    """Ours over theirs; 0 where theirs is 0 (the rate after a single token)."""
    other = theirs.numbers()
    return {key: _over(mine, other[key]) for key, mine in ours.numbers().items()}


def _over(mine: float | None, other: float | None) -> float | None:
    if mine is None or other is None:
        return None
    return mine / other if other else 0.0


def _agreeing(one: list[int], two: list[int]) -> int:
    """How many leading elements of two lists are the same."""
    for count, (left, right) in enumerate(zip(one, two, strict=False)):
        if left != right:
            return count
    return min(len(one), len(two))
