"""From a checkpoint to a published folder: read, round and write in row chunks, then rename.

Chunks are independent (positioned reads, groups along rows, positioned writes), so a few threads
take them one by one: while one waits for the disk another rounds. Memory is the threads' chunks,
whatever the model's size; experts go straight into their slots of the stacked tensors.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mlxqwen.checkpoint.directory import INDEX_NAME, Directory
from mlxqwen.checkpoint.numbers import packed_rows, part_rows
from mlxqwen.checkpoint.quantspec import format_quantization
from mlxqwen.checkpoint.safetensors import SafetensorsWriter
from mlxqwen.checkpoint.stored import FileReader
from mlxqwen.errors import CheckpointError, OutputError
from mlxqwen.model.config import ModelConfig

from .card import model_card
from .configuration import output_config
from .partial import PartialFolder
from .plan import METADATA, Job, Plan, make_plan
from .progress import Progress, Result, Stage
from .recipes import FAST, Recipe
from .rounding import bounded_cache, copy_packed, on_gpu, round_rows

# Copied byte for byte: a rewritten tokenizer or template is a different one for other programs.
COMPANIONS = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "NOTICE",
)

CHUNK_BYTES = 16 << 20
_CACHE_BYTES = 128 << 20


def quantise(
    source: Path,
    output: Path,
    *,
    recipe: Recipe = FAST,
    progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Quantise the checkpoint in ``source`` into the new folder ``output``.

    Peak memory is a few chunks of 16 MiB. ``output`` appears complete or not at all; until then
    the work lies in ``output`` + ``.partial``, which is removed on any error and on Ctrl-C.

    Args:
        progress: Called in this thread after each chunk.

    Raises:
        CheckpointError: The source is incomplete or damaged.
        UnsupportedModel: Its architecture or layout is not read here, or it is quantised already.
        OutputError: ``output`` exists, is being written by another process, or does not fit.
    """
    started = time.perf_counter()
    directory = Directory.open(source)
    plan = make_plan(directory, recipe)
    with PartialFolder(output) as folder:
        _check_space(folder.path, plan, source)
        reporter = _Reporter(plan, progress)
        reporter.report("plan")
        _write_shards(plan, folder.path, reporter)
        reporter.report("publish")
        _write_companions(directory, recipe, plan, folder)
        folder.publish()
    return Result(
        path=folder.output,
        shards=len(plan.shards),
        tensors=len(plan.weight_map),
        parameters=plan.parameters,
        nbytes=plan.output_bytes,
        bits_per_weight=plan.bits_per_weight,
        seconds=time.perf_counter() - started,
        notices=plan.notices,
    )


class _Reporter:
    """Counts finished jobs and tells the caller."""

    def __init__(self, plan: Plan, progress: Callable[[Progress], None] | None) -> None:
        self._plan = plan
        self._progress = progress
        self._tensors = self._read = self._written = 0
        self._rows: Counter[tuple[str, int]] = Counter()

    def finish(self, job: Job, written: int) -> None:
        piece = (job.step.tensor.name, job.piece.row)
        self._rows[piece] += job.stop - job.start
        self._tensors += self._rows[piece] == job.piece.rows
        self._read += job.nbytes
        self._written += written
        self.report("quantise")

    def report(self, stage: Stage) -> None:
        if self._progress is None:
            return
        plan = self._plan
        self._progress(
            Progress(
                stage,
                self._tensors,
                plan.source_tensors,
                self._read,
                plan.source_bytes,
                self._written,
                plan.tensor_bytes,
                plan.notices,
            )
        )


def _check_space(folder: Path, plan: Plan, source: Path) -> None:
    copied = sum((source / n).stat().st_size for n in COMPANIONS if (source / n).is_file())
    need = plan.output_bytes + copied
    free = shutil.disk_usage(folder).free
    if need > free:
        raise OutputError(
            f"{folder.parent} has {free / 1e9:,.2f} GB free, but the output needs "
            f"{need / 1e9:,.2f} GB.",
            "Free space there or choose another output folder.",
        )


def _write_shards(plan: Plan, folder: Path, reporter: _Reporter) -> None:
    with ExitStack() as stack:
        stack.enter_context(bounded_cache(_CACHE_BYTES))
        reader = FileReader()
        writers = [
            stack.enter_context(SafetensorsWriter(folder / s.name, s.tensors, METADATA))
            for s in plan.shards
        ]

        def run(job: Job) -> int:
            step, part, span = job.step, job.piece.part, (job.start, job.stop)
            if step.spec is not None and part.spec == step.spec:
                # The numbers have that form already: rounding again could only move them.
                parts = copy_packed(packed_rows(part, reader, *span), step.dtype)
            else:
                rows = part_rows(part, reader, *span, plus_one=step.tensor.plus_one)
                parts = round_rows(rows, step.dtype, step.spec)
            for out, data in zip(step.outputs, parts, strict=True):
                writers[job.shard].write(out.name, data, offset=job.row * out.row_bytes)
            return sum(data.nbytes for data in parts)

        # A GPU works through one queue: two threads keep it busy. A core rounds by itself.
        threads = 2 if on_gpu() else min(4, os.cpu_count() or 1)
        with _pool(threads) as pool:
            futures: dict[Future[int], Job] = {
                pool.submit(run, job): job for job in plan.jobs(CHUNK_BYTES)
            }
            for future in as_completed(futures):
                reporter.finish(futures.pop(future), future.result())


@contextmanager
def _pool(threads: int) -> Generator[ThreadPoolExecutor]:
    """Threads that on an error or Ctrl-C finish their present chunk and begin no other."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="quantise")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _write_companions(
    directory: Directory, recipe: Recipe, plan: Plan, folder: PartialFolder
) -> None:
    source = directory.path
    for name in COMPANIONS:
        if (source / name).is_file():
            try:
                data = (source / name).read_bytes()
            except OSError as error:
                raise CheckpointError(
                    f"{source / name} cannot be read: {error.strerror}.", "Check its permissions."
                ) from error
            folder.write(name, data)
    block = format_quantization(plan.quantization)
    config = output_config(directory.config, ModelConfig.parse(directory.config), block)
    index = {
        "metadata": {"total_size": plan.tensor_bytes, "total_parameters": plan.parameters},
        "weight_map": plan.weight_map,
    }
    folder.write("config.json", _json(config))
    folder.write(INDEX_NAME, _json(index))
    folder.write("README.md", model_card(source, directory.config, recipe, plan).encode())


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=4, ensure_ascii=False) + "\n").encode()
