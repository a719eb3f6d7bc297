"""A prepared quantisation and its result: as tables for people, as numbers for programs."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..units import clock, count, size
from .meter import joined, peak_memory
from .output import cell, harmless

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from mlxqwen.checkpoint.quantspec import QuantSpec
    from quantize.fit import Fit
    from quantize.manifest import Manifest
    from quantize.order import Prepared
    from quantize.plan import Row
    from quantize.progress import Result

_WORST = 3  # tensors named in a summary
_NARROW = 70  # columns below which a row of the table takes two lines


def plan_record(prepared: Prepared, source: str, output: Path, *, groups: bool) -> dict[str, Any]:
    """What will be written, in bytes and counts.

    Args:
        groups: With one entry for each kind of matrix.
    """
    plan, memory = prepared.plan, prepared.memory
    record: dict[str, Any] = {
        "source": source,
        "output": str(output),
        "recipe": prepared.recipe.name,
        "description": prepared.recipe.describe(),
        "parameters": plan.parameters,
        "bits_per_weight": round(plan.bits_per_weight, 4),
        "tensors": plan.source_tensors,
        "files": len(plan.shards),
        "source_bytes": plan.source_bytes,
        "fetch_bytes": prepared.fetch_bytes,
        "output_bytes": plan.output_bytes,
        "disk_needed": prepared.disk_needed,
        "disk_free": prepared.disk_free,
        "memory": {
            "context": memory.context,
            "weights": memory.weights,
            "cache": memory.cache,
            "workspace": memory.workspace,
            "total": memory.total,
            "budget": memory.budget,
            "fits": memory.fits,
        },
        "fit": None if prepared.fit is None else _fit_record(prepared.fit),
    }
    if groups:
        record["groups"] = [
            {
                "kind": row.kind,
                "shape": list(row.shape),
                "count": row.count,
                "spec": None if row.spec is None else asdict(row.spec),
                "bytes": row.nbytes,
            }
            for row in plan.table()
        ]
    return record


def plan_table(prepared: Prepared, title: str) -> RenderableType:
    """The same for people: kinds of matrices, then what it takes on disk and in memory."""
    from rich.console import Group
    from rich.text import Text

    plan, memory, fit = prepared.plan, prepared.memory, prepared.fit
    fetch = f", {size(prepared.fetch_bytes)} of it to be fetched" if prepared.fetch_bytes else ""
    room = "" if prepared.disk_needed <= prepared.disk_free else ": too little"
    facts = [
        ("recipe", prepared.recipe.describe()),
        ("source", f"{size(plan.source_bytes)} in {plan.source_tensors:,} tensors{fetch}"),
        (
            "output",
            f"{size(plan.output_bytes)} in {_files(len(plan.shards))}, "
            f"{plan.bits_per_weight:.3f} bits per weight, {plan.parameters:,} parameters",
        ),
        (
            "disk",
            f"{size(prepared.disk_needed)} needed, {size(prepared.disk_free)} free at "
            f"{prepared.disk}{room}",
        ),
        (
            "memory",
            f"{size(memory.total)} to run it with {count(memory.context)} tokens of context, which "
            f"{'fits into' if memory.fits else 'is more than'} the {size(memory.budget)} that this "
            "machine gives",
        ),
    ]
    if fit is not None:
        facts.append(("fit", str(fit)))
    return Group(
        Text(cell(title), style="bold"),
        "",
        _Kinds.of_plan(plan.table()) if fit is None else _Kinds.of_fit(fit),
        "",
        pairs(facts),
        *(Text(harmless(f"\n{notice}")) for notice in prepared.notices),
    )


def result_record(result: Result) -> dict[str, Any]:
    """What was published."""
    record = {
        **asdict(result),
        "path": str(result.path),
        "notices": list(result.notices),
        "peak_memory": peak_memory(),
    }
    record["seconds"] = round(result.seconds, 2)
    return record


def result_line(result: Result) -> str:
    """The same in one line."""
    return (
        f"{harmless(str(result.path))}: {size(result.nbytes)}, "
        f"{result.bits_per_weight:.2f} bits per weight, "
        f"{result.parameters / 1e6:.1f} M parameters, {result.seconds:.1f} s"
    )


def summary(
    result: Result, manifest: Manifest | None, name: str, source: str | None
) -> RenderableType:
    """What a person wants to know at the end.

    Args:
        name: By which the next commands find the output.
        source: What the user called the source; None where it was not kept.
    """
    from rich.console import Group
    from rich.text import Text

    own = shlex.quote(name)
    facts = [
        ("size", f"{size(result.nbytes)} in {_files(result.shards)}"),
        (
            "weights",
            f"{result.parameters / 1e6:,.1f} M parameters at {result.bits_per_weight:.3f} bits",
        ),
        *_worst(manifest),
        ("took", f"{clock(result.seconds)}, at most {size(peak_memory())} of memory"),
        ("next", f"mlxqwen chat {own}"),
        ("", f"mlxqwen verify {own}"),
    ]
    if source is not None:
        facts.append(("", f"mlxqwen evaluate {own} --against {shlex.quote(source)}"))
    path = Text(cell(str(result.path)), style="bold", overflow="fold")
    return Group(path, pairs(facts))


def pairs(facts: list[tuple[str, str]]) -> RenderableType:
    """Names and what belongs to them, one below another; no word is lost where it is narrow."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, Text(harmless(value)))
    return table


class _Kinds:
    """A line for each kind of matrix: a table where there is room, else two lines for each."""

    def __init__(self, headings: tuple[str, ...], lines: list[tuple[str, ...]]) -> None:
        self._headings = headings
        self._lines = lines

    @classmethod
    def of_plan(cls, rows: tuple[Row, ...]) -> _Kinds:
        """Vectors, which are never quantised, share one line."""
        lines = [
            (
                cell(row.kind),
                f"{row.count:,} of {'×'.join(map(str, row.shape))}",
                _spec(row.spec),
                size(row.nbytes),
            )
            for row in rows
            if len(row.shape) > 1
        ]
        vectors = [row for row in rows if len(row.shape) == 1]
        if vectors:
            number, amount = sum(v.count for v in vectors), sum(v.nbytes for v in vectors)
            lines.append(("norms", f"{number:,} vectors", _spec(None), size(amount)))
        return cls(("MATRICES", "HOW MANY", "QUANTISED", "BYTES"), lines)

    @classmethod
    def of_fit(cls, fit: Fit) -> _Kinds:
        """What was chosen for the layers; single layers would fill pages."""
        return cls(
            ("MATRICES", "CHOSEN", "BITS", "BYTES"),
            [(cell(k), words, f"{bits:.2f} bits", size(n)) for k, words, bits, n in fit.table()],
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.table import Table
        from rich.text import Text

        if options.max_width < _NARROW:
            for name, *facts in self._lines:
                yield Text(name, style="bold")
                for line in joined(facts, options.max_width - 2):
                    yield Text(f"  {line}")
            return
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
        for heading in self._headings:
            numbers = heading in ("BITS", "BYTES")
            table.add_column(heading, justify="right" if numbers else "left")
        for line in self._lines:
            table.add_row(*line)
        yield table


def _fit_record(fit: Fit) -> dict[str, Any]:
    return {
        "budget": fit.budget,
        "context": fit.context,
        "weights": fit.weights,
        "cache": fit.cache,
        "reserve": fit.reserve,
        "total": fit.total,
        "chosen": fit.chosen,
        "kl": dict(fit.kl),
        "kinds": [
            {"kind": name, "choice": words, "bits_per_weight": round(bits, 4), "bytes": amount}
            for name, words, bits, amount in fit.table()
        ],
    }


def _spec(spec: QuantSpec | None) -> str:
    if spec is None:
        return "as it is"
    mode = "" if spec.mode == "affine" else f"{spec.mode}, "
    return f"{mode}{spec.bits} bits, groups of {spec.group_size}"


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number} files"


def _worst(manifest: Manifest | None) -> list[tuple[str, str]]:
    if manifest is None or not manifest.tensors:
        return []
    ranked = sorted(manifest.tensors.items(), key=lambda one: -one[1].relative_mse)
    lines = [f"{error.relative_mse**0.5:.2%}  {name}" for name, error in ranked[:_WORST]]
    names = [f"worst of {len(ranked):,}", *[""] * (len(lines) - 1)]
    return list(zip(names, lines, strict=True))
