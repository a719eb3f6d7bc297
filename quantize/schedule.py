"""The order of the work: source shard by source shard, in batches that are finished one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from .plan import Job, Plan

# Source bytes of a batch: what a crash costs at most, and how often the disk must confirm.
BATCH_BYTES = 512 << 20


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs that are recorded together; ``needs`` are the source shards that they read."""

    number: int
    needs: tuple[Path, ...]
    jobs: tuple[Job, ...]

    @property
    def nbytes(self) -> int:
        """Bytes that are read."""
        return sum(job.nbytes for job in self.jobs)


def make_schedule(
    plan: Plan, shards: Sequence[Path], *, chunk_bytes: int, batch_bytes: int = BATCH_BYTES
) -> tuple[Batch, ...]:
    """Cut a plan's work so that shards are needed one after another, in the order of ``shards``.

    A job that reads several shards (FP8 scales may lie apart from their codes) comes when the last
    of them is here, and before the others of that shard, so that the earlier one can go.
    """
    order = {shard: number for number, shard in enumerate(shards)}

    def span(job: Job) -> tuple[int, int]:
        numbers = [order[view.info.path] for view in job.piece.part.views]
        return max(numbers), min(numbers)

    jobs = sorted(plan.jobs(chunk_bytes), key=span)
    return tuple(
        Batch(number, tuple(shards[n] for n in needs), members)
        for number, (needs, members) in enumerate(_cut(jobs, order, batch_bytes))
    )


def _cut(
    jobs: Sequence[Job], order: dict[Path, int], limit: int
) -> Iterator[tuple[tuple[int, ...], tuple[Job, ...]]]:
    members: list[Job] = []
    shards: tuple[int, ...] = ()
    filled = 0
    for job in jobs:
        needs = tuple(sorted({order[view.info.path] for view in job.piece.part.views}))
        if members and (needs != shards or filled + job.nbytes > limit):
            yield shards, tuple(members)
            members, filled = [], 0
        members.append(job)
        shards = needs
        filled += job.nbytes
    if members:
        yield shards, tuple(members)


def schedule_digest(plan: Plan, schedule: Sequence[Batch]) -> str:
    """SHA-256 in hex of the output's layout and of which rows each batch writes from where."""
    digest = sha256()
    for shard in plan.shards:
        digest.update(f"{shard.name} {shard.nbytes} {shard.tensors}\n".encode())
    for batch in schedule:
        for job in batch.jobs:
            name, span = job.step.outputs[0].name, (job.start, job.stop)
            digest.update(f"{batch.number} {name} {job.row} {span} {job.piece.rows}\n".encode())
    return digest.hexdigest()
