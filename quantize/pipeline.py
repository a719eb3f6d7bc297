"""From a checkpoint to a published folder: pin, stream, describe, rename."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from mlxqwen import __version__
from mlxqwen.device import device
from mlxqwen.errors import CheckpointError, OutputError

from .card import model_card, source_name
from .companions import config_file, copied_files, index_file
from .guidance import NO_GUIDANCE, Guidance
from .journal import Journal, Pin
from .manifest import MANIFEST_NAME, FileHash, Manifest, Source, TensorError, read_manifest
from .partial import PartialFolder
from .plan import Plan, make_plan
from .progress import Report, Result
from .recipes import FAST, Recipe
from .reporting import Reporter
from .rounding import Errors
from .schedule import BATCH_BYTES, Batch, make_schedule, schedule_digest
from .space import check_space
from .stream import Streamed, stream
from .supply import Folder, Supply

CHUNK_BYTES = 16 << 20


def quantise(
    source: Path | Supply,
    output: Path | PartialFolder,
    *,
    recipe: Recipe = FAST,
    guidance: Guidance = NO_GUIDANCE,
    restart: bool = False,
    notes: Mapping[str, Any] | None = None,
    progress: Report | None = None,
) -> Result:
    """Quantise a checkpoint into the new folder ``output``.

    Peak memory is a few chunks of 16 MiB. ``output`` appears complete or not at all; until then
    the work lies in ``output`` + ``.partial``. However a run ends, calling this again with the same
    arguments continues it, and the result is the same to the byte.

    Args:
        source: A folder, or any supply of shards.
        output: The new folder; or, entered already, the unfinished folder in front of it, where a
            supply keeps its shards there. (``restart`` is then its own affair.)
        guidance: What calibration and refinement found.
        restart: Begin anew where an earlier run left an unfinished folder.
        notes: What else the manifest should hold; JSON.
        progress: Called in this thread after each chunk, and while a download is waited for.

    Raises:
        CheckpointError: The source is incomplete or damaged, or has numbers that are not finite.
        UnsupportedModel: Its architecture or layout is not read here, or it is quantised already.
        OutputError: ``output`` exists, is being written by another process, does not fit, or was
            begun with another source, recipe or version.
        HubError: A shard could not be fetched.
    """
    started = time.perf_counter()
    supply = Folder.open(source) if isinstance(source, Path) else source
    plan = make_plan(supply.directory, recipe)
    schedule = make_schedule(
        plan, supply.directory.shards, chunk_bytes=CHUNK_BYTES, batch_bytes=BATCH_BYTES
    )
    pin = _pin(supply, plan, guidance, schedule)
    with ExitStack() as stack:
        if isinstance(output, PartialFolder):
            folder = output
        else:
            refuse_finished(output, pin)
            folder = stack.enter_context(PartialFolder(output, restart=restart))
        if folder.finished:
            _finish(folder, pin)
        else:
            _make(supply, plan, schedule, folder, pin, guidance, notes or {}, progress)
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


def refuse_finished(output: Path, pin: Pin) -> None:
    """Say so where ``output`` is the very result that is asked for.

    Raises:
        OutputError: It is.
    """
    if PartialFolder(output).is_remains():
        return
    try:
        manifest = read_manifest(output)
    except CheckpointError:
        return
    if manifest is not None and manifest.pin == pin.digest():
        raise OutputError(
            f"{output} is finished already, from this very source with recipe {pin.recipe}.",
            "Nothing is left to do; `mlxqwen verify` checks its files.",
        )


def _pin(supply: Supply, plan: Plan, guidance: Guidance, schedule: tuple[Batch, ...]) -> Pin:
    return Pin(
        source=supply.name,
        revision=supply.revision,
        identity=supply.identity,
        recipe=plan.recipe.name,
        choices=plan.recipe.digest(),
        guidance=guidance.identity,
        mlxqwen=__version__,
        mlx=metadata.version("mlx"),
        device=device().kind,
        work=schedule_digest(plan, schedule),
    )


def _finish(folder: PartialFolder, pin: Pin) -> None:
    """An earlier run ended between the rename and clearing up: only the latter is left.

    Raises:
        OutputError: What it finished is something else than what is asked for now.
    """
    folder.clear()
    manifest = read_manifest(folder.output)
    if manifest is None or manifest.pin != pin.digest():
        raise OutputError(
            f"{folder.output} exists already.",
            "Use it, remove it, or choose another output folder.",
        )


def _make(
    supply: Supply,
    plan: Plan,
    schedule: tuple[Batch, ...],
    folder: PartialFolder,
    pin: Pin,
    guidance: Guidance,
    notes: Mapping[str, Any],
    progress: Report | None,
) -> None:
    reporter = Reporter(plan, schedule, progress)
    check_space(plan, supply, folder.files)
    with Journal(folder.journal, pin) as journal:
        reporter.tell("plan")
        streamed = stream(supply, plan, schedule, folder, journal, guidance, reporter)
        reporter.tell("publish")
        _describe(supply, plan, folder, pin, streamed, notes)
    folder.publish()


def _describe(
    supply: Supply,
    plan: Plan,
    folder: PartialFolder,
    pin: Pin,
    streamed: Streamed,
    notes: Mapping[str, Any],
) -> None:
    """Writes everything beside the weights; the configuration last, which makes it a model."""
    tensors = _tensor_errors(plan, streamed.errors)
    small = {
        **copied_files(supply.directory.path),
        **dict([index_file(plan)]),
        "README.md": model_card(supply, plan, tensors).encode(),
    }
    name, config = config_file(supply.directory, plan)
    hashes = {
        file: FileHash(len(data), sha256(data).hexdigest())
        for file, data in {**small, name: config}.items()
    }
    manifest = Manifest(
        source=Source(source_name(supply), supply.revision, supply.identity),
        recipe={
            "name": plan.recipe.name,
            "description": plan.recipe.describe(),
            "digest": pin.choices,
            "guidance": pin.guidance,
        },
        versions={"mlxqwen": pin.mlxqwen, "mlx": pin.mlx},
        device=pin.device,
        pin=pin.digest(),
        bits_per_weight=plan.bits_per_weight,
        files={**hashes, **streamed.files},
        tensors=tensors,
        notes=notes,
    )
    folder.keep_only({*streamed.files, *small})
    for file, data in {**small, MANIFEST_NAME: manifest.to_bytes(), name: config}.items():
        folder.write(file, data)


def _tensor_errors(plan: Plan, errors: Mapping[str, Errors]) -> dict[str, TensorError]:
    """By module as the output names it."""
    found: dict[str, TensorError] = {}
    for shard in plan.shards:
        for step in shard.steps:
            error, spec = errors.get(step.tensor.module), step.spec
            if error is None or spec is None:
                continue
            found[step.outputs[0].name.removesuffix(".weight")] = TensorError(
                spec.bits,
                spec.group_size,
                spec.mode,
                error.relative_mse,
                error.cosine,
                error.largest,
                error.clip_rate,
                error.count,
            )
    return found
