"""The rows of the models' screen, each in as many columns as there is room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual.content import Content

from ..job import Job
from ..job_words import MARKS, kept, percent, stage
from ..units import clock, count, size
from ..views import model_label, one_line
from ..words import say
from .models_facts import Facts, Here, Offer, Part, Typed

Row = Here | Part | Offer | Typed | Job
Piece = tuple[str, str]

_SIZE, _BITS, _NEEDS, _WHERE = 10, 6, 14, 18
_BAR = 18  # cells of a job's bar where there is room


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the rows below it."""

    title: str
    rows: Sequence[Row]


def row_name(row: Row) -> str:
    """A name that no other row has."""
    return f"job:{row.task.key}" if isinstance(row, Job) else row.row


def subject(row: Row) -> str:
    """The model's name as the commands take it."""
    match row:
        case Job():
            return row.task.name
        case Here():
            return row.model.name
        case Part():
            return row.part.name
        case Offer():
            return row.fetched if row.converted else row.model.alias
        case Typed():
            return row.name


def sections(facts: Facts | None, jobs: Sequence[Job], wanted: str) -> list[Section]:
    """Everything whose name contains ``wanted``, and a repository that ``wanted`` names itself."""
    low = wanted.strip().lower()
    busy = {job.task.name.lower() for job in jobs}
    parted: list[Row] = []
    here: list[Row] = []
    known: list[Row] = []
    if facts:
        here = [row for row in facts.here if low in row.model.name.lower()]
        parted = [
            row
            for row in facts.parts
            if low in row.part.name.lower() and row.part.name.lower() not in busy
        ]
        known = [row for row in facts.offers if any(low in n.lower() for n in row.model.names)]
    found = [
        Section(say("models.section.jobs"), [job for job in jobs if low in job.task.name.lower()]),
        Section(say("models.section.here"), here),
        Section(say("models.section.parts"), parted),
        Section(say("models.section.known"), known),
    ]
    found = [section for section in found if section.rows]
    name = wanted.strip()
    owner, _, rest = name.partition("/")
    if not found and owner and rest and "/" not in rest and not name.startswith((".", "~")):
        found.append(Section(say("models.section.typed"), [Typed(name)]))
    return found


def heading(section: Section, context: int, width: int) -> Content:
    """A section's name above its columns."""
    first = section.rows[0]
    if isinstance(first, Job | Typed):
        return Content.styled(section.title, "bold $text-primary")
    headed = "models.head.download" if isinstance(first, Offer) else "models.head.size"
    cells = _cells(
        size=(say(headed), "$text-disabled"),
        bits=("" if isinstance(first, Part | Offer) else say("models.head.bits"), "$text-disabled"),
        needs=("" if isinstance(first, Part) else say("models.head.needs"), "$text-disabled"),
        where=("", ""),
        mark=("", ""),
        width=width,
    )
    return _columns(Content.styled(section.title, "bold $text-primary"), cells, width)


def paint(row: Row, width: int, *, used: str = "") -> Content:
    """One row; ``used`` is the name of the model that answers now."""
    match row:
        case Job():
            return job_line(row, width)
        case Here():
            return _here(row, width, used == row.model.name)
        case Part():
            cells = _cells(
                size=(size(row.part.bytes), "$text-muted"),
                bits=("", ""),
                needs=("", ""),
                where=(say(f"models.from.{row.part.kind}"), "$text-disabled"),
                mark=("◌", "$text-warning"),
                width=width,
            )
            return _columns(Content(f"  {one_line(row.part.name)}"), cells, width)
        case Offer():
            return _offer(row, width)
        case Typed():
            left = Content.assemble(("⇣ ", "$text-primary"), one_line(row.name))
            return Content.assemble(left, (f"   {say('models.from.typed')}", "$text-muted"))


def job_line(job: Job, width: int) -> Content:
    """How a job fares, in a line; where it failed, the cause and what to do below it."""
    name = model_label(job.task.name)
    mark = (f"{MARKS[job.task.kind]} ", "$text-primary")
    match job.state:
        case "running":
            return _running(job, mark, name, width)
        case "failed":
            return _failed(job, name, width)
        case "done":
            whole = job.verified is None or job.verified.ok
            words = "ready" if job.verified is None else "whole" if whole else "damaged"
            style = "$text-success" if whole else "$text-error"
            mark = ("✓ " if whole else "✗ ", style)
            if job.path:
                name = model_label(job.path)
        case "paused":
            words, style = "paused", "$text-warning"
            mark = ("‖ ", style)
            if percent(job):
                said = say("jobs.state.paused_at", share=percent(job))
                return _two(Content.assemble(mark, name), Content.styled(said, style), width)
        case _:
            words, style = job.state, "$text-muted"
    said = Content.styled(say(f"jobs.state.{words}"), style)
    return _two(Content.assemble(mark, name), said, width)


def _running(job: Job, mark: Piece, name: str, width: int) -> Content:
    progress = job.progress
    parts: list[Piece] = [(f"{stage(job)} ", "$text-muted")]
    if width >= 60:
        parts += bar(progress.share if progress else None, min(_BAR, width // 5))
    parts.append((percent(job).rjust(6), ""))
    if progress and progress.rate and width >= 60:
        parts.append((f"{size(round(progress.rate))}/s".rjust(12), "$text-muted"))
    if progress and progress.seconds_left is not None and width >= 44:
        left = clock(progress.seconds_left)
        words = say("jobs.left", time=left) if width >= 80 else left
        parts.append((f"  {words}", "$text-muted"))
    line = _two(Content.assemble(mark, name), Content.assemble(*parts), width)
    if job.notice:
        return Content.assemble(line, "\n  ", (one_line(job.notice), "$text-warning"))
    return line


def _failed(job: Job, name: str, width: int) -> Content:
    failure = job.failure
    cause = one_line(f"{failure.what} {failure.hint}") if failure else ""
    said = Content.styled(say("jobs.state.failed"), "$text-error")
    line = _two(Content.assemble(("✗ ", "$text-error"), name), said, width)
    return Content.assemble(
        line, "\n  ", (cause, "$text-error"), "\n  ", (kept(job), "$text-muted")
    )


def bar(share: float | None, cells: int) -> list[Piece]:
    """A bar of so many cells, empty where nothing is known yet."""
    full = round((share or 0.0) * cells)
    return [("━" * full, "$text-primary"), ("━" * (cells - full), "$text-disabled")]


def _here(row: Here, width: int, used: bool) -> Content:
    model = row.model
    style = "bold $text-primary" if used else ""
    cells = _cells(
        size=(size(model.bytes), "$text-muted"),
        bits=(f"{model.bits:g}" if model.bits else "–", "$text-muted"),
        needs=_needs(row),
        where=(say(f"models.from.{model.source}"), "$text-disabled"),
        mark=_verdict(row),
        width=width,
    )
    name = Content.assemble(("● " if used else "  ", style), (one_line(model.name), style))
    return _columns(name, cells, width)


def _offer(row: Offer, width: int) -> Content:
    known = row.model
    about = say(f"models.thinks.{known.thinking}") if known.thinking else ""
    cells = _cells(
        size=("–" if row.bytes is None else size(row.bytes), "$text-muted"),
        bits=("16" if row.bytes and not row.converted else "", "$text-muted"),
        needs=_needs(row),
        where=(about, "$text-disabled"),
        mark=_verdict(row),
        width=width,
    )
    fits = row.plan is not None and row.plan.fits
    return _columns(Content.styled(f"  {known.alias}", "" if fits else "$text-muted"), cells, width)


def _needs(row: Here | Offer) -> Piece:
    """The memory; with the tokens it is for, where those are fewer than were asked for."""
    if row.plan is None:
        return "–", "$text-muted"
    if row.plan.context < row.asked:
        return f"{count(row.plan.context)}: {size(row.plan.total)}", "$text-warning"
    return size(row.plan.total), "$text-muted"


def _verdict(row: Here | Offer) -> Piece:
    if row.plan is None:
        return ("✗", "$text-error") if row.trouble else ("·", "$text-disabled")
    return ("✓", "$text-success") if row.plan.fits else ("✗", "$text-error")


def _cells(
    *, size: Piece, bits: Piece, needs: Piece, where: Piece, mark: Piece, width: int
) -> list[tuple[str, int, str]]:
    """Text, width and style of the columns that a line so wide has room for."""
    cells: list[tuple[str, int, str]] = []
    if width >= 76:
        cells.append((where[0], _WHERE, where[1]))
    cells.append((size[0], _SIZE, size[1]))
    if width >= 52:
        cells.append((bits[0], _BITS, bits[1]))
    if width >= 44:
        cells.append((needs[0], _NEEDS, needs[1]))
    cells.append((mark[0], 2, mark[1]))
    return cells


def _columns(name: Content, cells: Sequence[tuple[str, int, str]], width: int) -> Content:
    parts = [(" " * (room - cell_len(text)) + text, style) for text, room, style in cells]
    return _two(name, Content.assemble(*parts), width)


def _two(left: Content, right: Content, width: int) -> Content:
    room = max(4, width - right.cell_length - 1)
    left = left.truncate(room, ellipsis=True)
    gap = " " * max(1, width - left.cell_length - right.cell_length)
    return Content.assemble(left, gap, right).truncate(width, ellipsis=True)


def short(tokens: int) -> str:
    """A context to choose, in words."""
    if not tokens:
        return say("models.context_most")
    return say("models.context", tokens=count(tokens))
