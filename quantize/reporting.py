"""Counts what is done and tells the caller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .plan import Job, Plan
from .progress import Progress, Report, Stage
from .schedule import Batch


class Reporter:
    """Every method is called in the caller's thread, and so is ``report``."""

    def __init__(self, plan: Plan, schedule: Sequence[Batch], report: Report | None) -> None:
        self._plan = plan
        self._report = report
        self._tensors = self._read = self._written = self._resumed = self._shards = 0
        self._rows: Counter[tuple[str, int]] = Counter()
        self._uses = Counter(shard for batch in schedule for shard in batch.needs)
        self._shards_total = len(self._uses)

    def tell(self, stage: Stage, message: str = "", done: int = 0, total: int = 0) -> None:
        """Report all counts as they are."""
        if self._report is None:
            return
        plan = self._plan
        self._report(
            Progress(
                stage,
                tensors_done=self._tensors,
                tensors_total=plan.source_tensors,
                bytes_read=self._read,
                bytes_read_total=plan.source_bytes,
                bytes_written=self._written,
                bytes_written_total=plan.tensor_bytes,
                notices=plan.notices,
                shards_done=self._shards,
                shards_total=self._shards_total,
                bytes_resumed=self._resumed,
                done=done,
                total=total,
                message=message,
            )
        )

    def resume(self, job: Job, written: int) -> None:
        """An earlier run did ``job``."""
        self._count(job, written)
        self._resumed += job.nbytes

    def finish(self, job: Job, written: int) -> None:
        """``job`` is done."""
        self._count(job, written)
        self.tell("quantise")

    def complete(self, batch: Batch) -> None:
        """All jobs of ``batch`` are done."""
        for shard in batch.needs:
            self._uses[shard] -= 1
            self._shards += not self._uses[shard]

    def checked(self, done: int, total: int) -> None:
        """So many batches of an earlier run were read back."""
        self.tell("check", "reading back what is there", done, total)

    def fetching(self, shard: Path, done: int, total: int) -> None:
        """Nothing can be rounded before ``shard`` is here; ``done`` of its bytes are."""
        self.tell("fetch", f"waiting for {shard.name}", done, total)

    def _count(self, job: Job, written: int) -> None:
        piece = (job.step.tensor.name, job.piece.row)
        self._rows[piece] += job.stop - job.start
        self._tensors += self._rows[piece] == job.piece.rows
        self._read += job.nbytes
        self._written += written
