"""What a user asks for, carried out: the one path behind the command and the chat.

A recipe is chosen, or made to fit a size; text runs through the model where the recipe wants to
know what matters; scales are refined where it wants that; then everything is rounded and written.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlxqwen.device import computes_in_float32
from mlxqwen.engine.memory import Plan as MemoryPlan
from mlxqwen.engine.memory import plan_sizes
from mlxqwen.errors import CheckpointError, DoesNotFit, UnsupportedModel, UsageError
from mlxqwen.model.config import ModelConfig

from .companions import companion_bytes
from .partial import PartialFolder
from .plan import Plan, make_plan
from .progress import Progress, Report, Result
from .recipes import Recipe, RecipeName, choose_recipe
from .sizes import CONTEXT
from .space import check_space, fetch_need
from .supply import Supply

if TYPE_CHECKING:
    from .fit import Fit

_TICK = 0.25  # seconds between reports while a shard is fetched
_FLOATING = frozenset({"F32", "F16", "BF16"})


@dataclass(frozen=True, slots=True)
class Order:
    """What to make of a source.

    Attributes:
        output: The folder that will appear.
        recipe: None is ``balanced``, the best that needs no calibration.
        bits: Of the bulk of the matrices, in place of the recipe's; so ``group_size``, ``mode``.
        fit: Bytes that weights, cache and a reserve must not exceed; chooses the bits of each
            matrix, so it goes with none of the above.
        context: Tokens that the cache of ``fit`` has room for.
        calibration: A text file in place of the built-in mix.
        restart: Begin anew where an earlier run left an unfinished folder.
    """

    output: Path
    recipe: RecipeName | None = None
    bits: int | None = None
    group_size: int | None = None
    mode: str | None = None
    fit: int | None = None
    context: int | None = None
    calibration: Path | None = None
    restart: bool = False

    def check(self) -> None:
        """Refuse what does not go together, before anything is read.

        Raises:
            UsageError: Two choices contradict each other, or one has no effect.
        """
        given = [
            option
            for option, value in (
                ("--recipe", self.recipe),
                ("--bits", self.bits),
                ("--group-size", self.group_size),
                ("--mode", self.mode),
            )
            if value is not None
        ]
        if self.fit is not None and given:
            raise UsageError(
                f"--fit chooses the bits of every matrix, so it does not go with {given[0]}.",
                "Give one of them.",
            )
        if self.mode not in (None, "affine") and self.recipe in ("balanced", "best"):
            raise UsageError(
                f"The recipe {self.recipe} searches affine scales, so it does not go with "
                f"--mode {self.mode}.",
                "Leave --recipe out.",
            )
        if self.calibration is not None and not self.calibrates:
            raise UsageError(
                "--calibration goes with --recipe best or --fit; other recipes read no text."
            )
        choose_recipe(None, "fast", bits=self.bits, group_size=self.group_size, mode=self.mode)

    @property
    def calibrates(self) -> bool:
        """Whether text has to run through the whole source."""
        return self.fit is not None or self.recipe == "best"


@dataclass(frozen=True, slots=True)
class Prepared:
    """An order of which everything is known but the rounded numbers.

    Attributes:
        config: The model.
        recipe: The chosen one.
        plan: What will be written, to the byte.
        fit: How the bits came about, where they were made to fit.
        memory: What running the result takes.
        fetch_bytes: To be downloaded still.
        disk_needed: At most at once, at ``disk``.
        disk_free: There now.
        disk: A folder that exists, on the disk of the output.
        notices: Sentences for the user.
    """

    config: ModelConfig
    recipe: Recipe
    plan: Plan
    fit: Fit | None
    memory: MemoryPlan
    fetch_bytes: int
    disk_needed: int
    disk_free: int
    disk: Path
    notices: tuple[str, ...]


def prepare(order: Order, supply: Supply, *, progress: Report | None = None) -> Prepared:
    """Choose the recipe and plan the output; nothing is written but cached scores.

    Raises:
        UsageError: As ``Order.check``, or what text must run through is not all kept.
        DoesNotFit: Nothing that MLX can do to the model is as small as ``order.fit``.
        CheckpointError, UnsupportedModel: As ``make_plan``.
        HubError: A shard could not be fetched.
    """
    order.check()
    config = ModelConfig.parse(supply.directory.config)
    fetch_bytes = sum(supply.nbytes.values())
    chosen: Fit | None = None
    if order.fit is None:
        recipe = choose_recipe(
            config,
            order.recipe or "balanced",
            bits=order.bits,
            group_size=order.group_size,
            mode=order.mode,
        )
    else:
        from .fit import fit

        gather(supply, progress)
        chosen = fit(
            supply,
            order.fit,
            context=_context(order, config),
            text=order.calibration,
            progress=progress,
        )
        recipe = chosen.recipe
    plan = make_plan(supply.directory, recipe)
    disk = _existing(order.output.absolute().parent)
    return Prepared(
        config=config,
        recipe=recipe,
        plan=plan,
        fit=chosen,
        memory=memory_of(plan, config, order),
        fetch_bytes=fetch_bytes,
        disk_needed=_disk_need(plan, supply, disk),
        disk_free=shutil.disk_usage(disk).free,
        disk=disk,
        notices=plan.notices,
    )


def carry_out(
    order: Order,
    source: Supply | Callable[[Path], Supply],
    *,
    planned: Callable[[Prepared], None] | None = None,
    progress: Report | None = None,
) -> Result:
    """Everything from choosing to publishing; the same order continues what was interrupted.

    The output is locked from the beginning, for hours may go into what comes before the writing.

    Args:
        source: The source, or how to open it, given a folder below the unfinished output that it
            may keep shards and notes in.
        planned: Told what will be written, before the long part begins.

    Raises:
        OutputError: The output exists, is being written by another process, was begun with
            something else, or does not fit on the disk.
        MlxqwenError: As ``prepare`` and ``quantise``.
    """
    started = time.perf_counter()
    order.check()
    with PartialFolder(order.output, restart=order.restart) as folder:
        try:
            supply = source(folder.source) if callable(source) else source
            prepared = prepare(order, supply, progress=progress)
        except (CheckpointError, DoesNotFit, UnsupportedModel, UsageError):
            if not folder.journal.exists():
                # Nothing will come of it: what the source has noted there need not stay.
                shutil.rmtree(folder.source, ignore_errors=True)
            raise
        if planned is not None:
            planned(prepared)
        if not folder.finished:
            check_space(prepared.plan, supply, folder.files)
        recipe = prepared.recipe
        if recipe.calibrated or recipe.refined:
            gather(supply, progress)
        from .guide import guide
        from .pipeline import quantise

        result = quantise(
            supply,
            folder,
            recipe=recipe,
            guidance=guide(supply, prepared.plan, text=order.calibration, progress=progress),
            notes=_notes(prepared),
            progress=progress,
        )
    return replace(result, seconds=time.perf_counter() - started)


def gather(supply: Supply, progress: Report | None = None) -> None:
    """Have every shard of a source here, for what reads all of it several times.

    Raises:
        UsageError: The supply keeps only a few at once.
        HubError: One could not be fetched.
    """
    if supply.discards:
        raise UsageError(
            "Calibration runs text through the whole source, so its files cannot be discarded.",
            "Leave --discard-source out, or choose --recipe balanced.",
        )
    missing = supply.nbytes
    if not missing:
        return
    shards = supply.directory.shards
    first = {shard: supply.fetched(shard) for shard in missing}
    total = sum(missing.values())
    with ThreadPoolExecutor(1, thread_name_prefix="fetch") as pool:
        for number, shard in enumerate(shards):
            future = pool.submit(supply.fetch, shard)
            ended = False
            while not ended:
                ended = bool(wait([future], _TICK).done)
                if progress is not None:
                    done = sum(supply.fetched(s) - here for s, here in first.items())
                    progress(
                        Progress(
                            "fetch",
                            bytes_read=min(done, total),
                            bytes_read_total=total,
                            shards_done=number,
                            shards_total=len(shards),
                        )
                    )
            future.result()


def memory_of(plan: Plan, config: ModelConfig, order: Order) -> MemoryPlan:
    """What running the output takes on this machine, at the order's context or 8k tokens."""
    width = 4 if computes_in_float32() else 2
    sizes = {
        step.tensor.name: sum(
            prod(out.shape) * width if out.dtype in _FLOATING else out.nbytes
            for out in step.outputs
        )
        for shard in plan.shards
        for step in shard.steps
    }
    return plan_sizes(sizes, config, order.output.name, context=_context(order, config))


def _context(order: Order, config: ModelConfig) -> int:
    """What is asked for; else 8k, or all that the model can where that is less."""
    return order.context or min(CONTEXT, config.max_position_embeddings)


def _existing(path: Path) -> Path:
    """The nearest folder above that is there."""
    path = path.absolute()
    while not path.is_dir():
        path = path.parent
    return path


def _disk_need(plan: Plan, supply: Supply, disk: Path) -> int:
    """Bytes that the output's disk must have: for it, and for downloads that go there too."""
    need = plan.output_bytes + companion_bytes(supply.directory.path)
    missing = next(iter(supply.nbytes), None)
    if missing is None:
        return need
    shared = supply.discards or _existing(missing).stat().st_dev == disk.stat().st_dev
    return need + fetch_need(supply) if shared else need


def _notes(prepared: Prepared) -> dict[str, Any]:
    """What the manifest says of how the output came about, beside the recipe."""
    fit = prepared.fit
    if fit is None:
        return {}
    sizes = {"weights": fit.weights, "cache": fit.cache, "reserve": fit.reserve}
    return {"fit": {"bytes": fit.budget, "context": fit.context, **sizes}}
