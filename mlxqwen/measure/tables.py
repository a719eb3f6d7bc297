"""What was measured and found, as tables for a terminal.

Every cell is ``Text``: a path or a device name that contains markup stays what it is.
"""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .bench import BenchResult, MetalPlan
from .doctor import Report, State

_MARKS: dict[State, tuple[str, str]] = {
    "ok": ("✓", "green"),
    "note": ("·", "yellow"),
    "problem": ("✗", "bold red"),
}
# Key, label, unit, format, what one unit is in the stored figure.
_ROWS: tuple[tuple[str, str, str, float], ...] = (
    ("prefill_tok_s", "prefill", "tok/s", 1.0),
    ("decode_tok_s", "decode", "tok/s", 1.0),
    ("ttft_ms", "time to first token", "ms", 1.0),
    ("build_ms_per_token", "building a step", "ms", 1.0),
    ("metal_build_ms_per_token", "building it for Metal", "ms", 1.0),
    ("submit_ms_per_token", "handing it over", "ms", 1.0),
    ("bytes_per_token", "read per token", "MB", 1e6),
    ("bandwidth_share", "of the memory's bandwidth", "%", 0.01),
    ("kernels_per_token", "launches per token on Metal", "", 1.0),
    ("kernels_per_layer", "launches per layer on Metal", "", 1.0),
    ("import_s", "import", "s", 1.0),
    ("load_s", "load", "s", 1.0),
    ("peak_bytes", "peak of arrays", "MB", 1e6),
    ("peak_rss_bytes", "peak of the process", "MB", 1e6),
)


def report_table(report: Report) -> RenderableType:
    """The findings of ``doctor``, each remedy below what it heals."""
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in report.findings:
        mark, style = _MARKS[finding.state]
        table.add_row(Text(mark, style), Text(finding.name, "bold"), Text(finding.value))
        if finding.remedy:
            table.add_row("", "", Text(f"→ {finding.remedy}", style))
    return table


def bench_table(result: BenchResult) -> RenderableType:
    """The figures of ``bench``, beside the peer's where there is one."""
    title = (
        f"{result.model} on {result.device}: {result.prompt_tokens} tokens in, "
        f"{result.tokens} out, median of {result.repeats}"
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column(Text("mlxqwen"), justify="right")
    if result.peer is not None:
        table.add_column(Text(result.against or ""), justify="right")
        table.add_column("ratio", justify="right")
    table.add_column("")
    ours = result.ours.numbers()
    theirs = result.peer.numbers() if result.peer is not None else None
    for key, label, unit, one in _ROWS:
        mine = ours[key]
        if mine is None:
            continue
        cells = [label, _number(mine / one)]
        if theirs is not None:
            other, ratio = theirs[key], result.ratio[key]
            cells.append("" if other is None else _number(other / one))
            cells.append("" if ratio is None else f"{ratio:.2f}×")
        table.add_row(*(Text(cell) for cell in cells), Text(unit, "dim"))
    parts: list[RenderableType] = [Text(title, "bold"), table]
    if result.same_tokens is not None:
        parts.append(
            Text(f"The first {result.same_tokens} of {result.tokens} greedy tokens are the same.")
        )
    return Group(*parts)


def plan_table(plan: MetalPlan) -> RenderableType:
    """Every launch of our step in order, then how many of each kind, beside the peer's."""
    table = Table(box=None, pad_edge=False, title=None)
    sides = [("mlxqwen", plan.ours)]
    if plan.peer is not None:
        sides.append((plan.against or "", plan.peer))
    table.add_column("launches per token")
    for name, _ in sides:
        table.add_column(Text(name), justify="right")
    kinds = dict.fromkeys(kind for _, counts in sides for kind in counts["launches"])
    for kind in kinds:
        numbers = [str(counts["launches"].get(kind, "")) for _, counts in sides]
        table.add_row(*(Text(cell) for cell in (kind, *numbers)))
    for key, label in (
        ("kernels_per_token", "in all"),
        ("kernels_per_layer", "per layer"),
        ("operations_per_layer", "operations per layer"),
        ("metal_build_ms_per_token", "building it, ms"),
    ):
        cells = (label, *(_number(counts[key]) for _, counts in sides))
        table.add_row(*(Text(cell, "bold") for cell in cells))
    title = f"{plan.model}: one step on Metal, {plan.context} tokens in the cache"
    lines = Text("\n".join(plan.ours["list"]))
    return Group(Text(title, "bold"), lines, Text(""), table)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
