"""Source shards flow through memory into the output's files, batch by batch, and can be resumed.

Chunks of rows are independent (positioned reads, groups along rows, positioned writes), so a few
threads take them one by one: while one waits for the disk another rounds. Memory is the threads'
chunks, whatever the model's size; experts go straight into their slots of the stacked tensors.

A batch is recorded in the journal after its bytes are stable on the disk, and a source shard is
released after the last batch that needs it is recorded. While one batch becomes stable the next is
rounded already.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import mlx.core as mx

from mlxqwen.checkpoint.safetensors import SafetensorsWriter
from mlxqwen.checkpoint.stored import FileReader

from .digests import Digests
from .feeder import Feeder
from .guidance import Guidance
from .journal import Journal
from .manifest import FileHash
from .partial import PartialFolder
from .plan import METADATA, Job, Plan
from .recipes import Rounding
from .reporting import Reporter
from .rounding import Errors, bounded_cache, on_gpu
from .rounds import round_job
from .schedule import Batch
from .supply import Supply

_CACHE_BYTES = 128 << 20

# Batches whose jobs are given out before the first of them is complete: no thread waits at its end.
_AHEAD = 2


@dataclass(frozen=True, slots=True)
class Streamed:
    """The hashes of the weight files, and the sampled error by canonical module."""

    files: Mapping[str, FileHash]
    errors: Mapping[str, Errors]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Of one job."""

    checksum: int
    nbytes: int
    errors: Errors | None


def stream(
    supply: Supply,
    plan: Plan,
    schedule: Sequence[Batch],
    folder: PartialFolder,
    journal: Journal,
    guidance: Guidance,
    reporter: Reporter,
) -> Streamed:
    """Write all weight files into ``folder.files``, from where ``journal`` says that it ended.

    What an earlier run recorded is read back and compared first; what does not match is redone.

    Raises:
        CheckpointError: The source cannot be read or has numbers that are not finite.
        OutputError: The disk is full or fails.
        HubError: A shard could not be fetched.
    """
    with ExitStack() as stack:
        stack.enter_context(bounded_cache(_CACHE_BYTES))
        # A lazy array belongs to the thread that made it.
        mx.eval(dict(guidance.importance), dict(guidance.affine))
        writers = [
            stack.enter_context(
                SafetensorsWriter(folder.files / s.name, s.tensors, METADATA, resume=True)
            )
            for s in plan.shards
        ]
        folder.sync_files()
        # A GPU works through one queue: two threads keep it busy. A core rounds by itself.
        threads = 2 if on_gpu() else min(4, os.cpu_count() or 1)
        pool = stack.enter_context(_pool(threads, "quantise"))
        work = _Work(plan, writers, guidance)
        records = dict(_checked(journal, schedule, work, pool, reporter))
        left = [batch for batch in schedule if batch.number not in records]
        if supply.discards:
            for shard in set(supply.directory.shards).difference(*(b.needs for b in left)):
                supply.release(shard)
        totals = {shard: size + supply.fetched(shard) for shard, size in supply.nbytes.items()}

        def waiting(shard: Path) -> None:
            reporter.fetching(shard, supply.fetched(shard), totals.get(shard, 0))

        feeder = stack.enter_context(Feeder(supply, [batch.needs for batch in left]))
        digests = Digests(writers)
        with _Recorder(journal, work, feeder, digests) as recorder:
            for batch, outcomes in _rounded(left, work, pool, feeder, waiting, reporter):
                records[batch.number] = recorder.record(batch, outcomes)
            recorder.finish()
        return Streamed(digests.result(), _total(schedule, records))


class _Work:
    """What a thread does with a job, and how it is found done."""

    def __init__(
        self, plan: Plan, writers: Sequence[SafetensorsWriter], guidance: Guidance
    ) -> None:
        self._rounding: Rounding = plan.recipe.rounding
        self._writers = writers
        self._guidance = guidance
        self._reader = FileReader()

    def run(self, job: Job) -> _Outcome:
        rounded = round_job(job, self._reader, self._guidance, self._rounding)
        for (name, offset, _), data in zip(_ranges(job), rounded.parts, strict=True):
            self._writers[job.shard].write(name, data, offset=offset)
        nbytes = sum(part.nbytes for part in rounded.parts)
        return _Outcome(rounded.checksum(), nbytes, rounded.errors)

    def verify(self, batch: Batch, checksums: Sequence[int]) -> bool:
        """Whether the output holds what was recorded of ``batch``; if so it counts as written."""
        if len(checksums) != len(batch.jobs):
            return False
        for job, recorded in zip(batch.jobs, checksums, strict=True):
            value = 0
            for name, offset, nbytes in _ranges(job):
                value = crc32(self._writers[job.shard].read(name, nbytes, offset=offset), value)
            if value != recorded:
                return False
        for job in batch.jobs:
            for name, offset, nbytes in _ranges(job):
                self._writers[job.shard].claim(name, nbytes, offset=offset)
        return True

    def sync(self, batch: Batch) -> None:
        for index in sorted({job.shard for job in batch.jobs}):
            self._writers[index].sync()


class _Recorder:
    """Makes batches stable, one after another in a thread, and hashes files in a second one."""

    def __init__(self, journal: Journal, work: _Work, feeder: Feeder, digests: Digests) -> None:
        self._journal = journal
        self._work = work
        self._feeder = feeder
        self._digests = digests
        self._stack = ExitStack()
        self._stable: Future[None] | None = None
        self._hashed: Future[None] | None = None

    def __enter__(self) -> _Recorder:
        self._writer = self._stack.enter_context(_pool(1, "record"))
        self._hasher = self._stack.enter_context(_pool(1, "hash"))
        self._stack.callback(self._digests.stop)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def record(self, batch: Batch, outcomes: Sequence[_Outcome]) -> dict[str, Any]:
        """The journal's line, which is stable some time after this returned."""
        errors: dict[str, Errors] = {}
        for job, outcome in zip(batch.jobs, outcomes, strict=True):
            if outcome.errors is not None:
                module = job.step.tensor.module
                errors[module] = errors.get(module, Errors()).add(outcome.errors)
        line: dict[str, Any] = {
            "batch": batch.number,
            "crc": [outcome.checksum for outcome in outcomes],
            "errors": {module: astuple(error) for module, error in errors.items()},
        }
        if self._stable is not None:
            self._stable.result()
        self._stable = self._writer.submit(self._make_stable, batch, line)
        if self._hashed is None or self._hashed.done():
            self._hash()
        return line

    def finish(self) -> None:
        """Wait until all is stable and hashed."""
        if self._stable is not None:
            self._stable.result()
        self._hash()
        if self._hashed is not None:
            self._hashed.result()

    def _hash(self) -> None:
        if self._hashed is not None:
            self._hashed.result()
        self._hashed = self._hasher.submit(self._digests.advance)

    def _make_stable(self, batch: Batch, line: Mapping[str, Any]) -> None:
        self._work.sync(batch)
        self._journal.append(line)
        self._feeder.done(batch.needs)


def _rounded(
    batches: Sequence[Batch],
    work: _Work,
    pool: ThreadPoolExecutor,
    feeder: Feeder,
    waiting: Callable[[Path], None],
    reporter: Reporter,
) -> Iterator[tuple[Batch, list[_Outcome]]]:
    """Each batch once its jobs are done."""
    given: deque[tuple[Batch, dict[Future[_Outcome], Job]]] = deque()
    for batch in batches:
        while given and (len(given) == _AHEAD or not feeder.has(batch.needs)):
            yield _collect(*given.popleft(), reporter)
        feeder.wait(batch.needs, waiting)
        given.append((batch, {pool.submit(work.run, job): job for job in batch.jobs}))
    while given:
        yield _collect(*given.popleft(), reporter)


def _collect(
    batch: Batch, futures: dict[Future[_Outcome], Job], reporter: Reporter
) -> tuple[Batch, list[_Outcome]]:
    for future in as_completed(futures):
        reporter.finish(futures[future], future.result().nbytes)
    reporter.complete(batch)
    # As they were submitted: sums must not depend on which thread was first.
    return batch, [future.result() for future in futures]


def _checked(
    journal: Journal,
    schedule: Sequence[Batch],
    work: _Work,
    pool: ThreadPoolExecutor,
    reporter: Reporter,
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The journal's batches that the output really holds."""
    known = [
        (batch, journal.batches[batch.number])
        for batch in schedule
        if batch.number in journal.batches
    ]
    futures = [pool.submit(work.verify, batch, line["crc"]) for batch, line in known]
    for number, ((batch, line), future) in enumerate(zip(known, futures, strict=True), start=1):
        if future.result():
            for job in batch.jobs:
                reporter.resume(job, sum(nbytes for _, _, nbytes in _ranges(job)))
            reporter.complete(batch)
            yield batch.number, line
        reporter.checked(number, len(known))


def _ranges(job: Job) -> list[tuple[str, int, int]]:
    """Name, offset and size of what a job writes into each output of its step."""
    rows = job.stop - job.start
    return [(out.name, job.row * out.row_bytes, rows * out.row_bytes) for out in job.step.outputs]


def _total(
    schedule: Sequence[Batch], records: Mapping[int, Mapping[str, Any]]
) -> dict[str, Errors]:
    """The errors of all batches, added up in their order, so that a resumed run adds the same."""
    total: dict[str, Errors] = {}
    for batch in schedule:
        for module, values in records[batch.number]["errors"].items():
            total[module] = total.get(module, Errors()).add(Errors(*values))
    return total


@contextmanager
def _pool(threads: int, name: str) -> Generator[ThreadPoolExecutor]:
    """Threads that on an error or Ctrl-C finish their present work and begin no other."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
