"""All that is known of one row of the models' screen, for the pane beside it and for ``i``."""

from __future__ import annotations

from textual.content import Content

from mlxqwen.engine.memory import Plan
from mlxqwen.hub.catalogue import KnownModel

from ..job import Job
from ..job_events import Planned
from ..job_words import kept, percent, stage
from ..units import clock, count, decimal, size
from ..views import one_line
from ..words import say
from .models_facts import Here, Offer, Part, Typed
from .models_rows import Piece, Row, bar
from .pages import hanging

_NAMES = 12  # cells of the names of facts
_METER = 24


def details(row: Row | None, width: int) -> Content:
    """A title and what there is to say, in lines of at most ``width`` cells."""
    if row is None:
        return Content("")
    width = max(24, width)
    match row:
        case Here():
            title, parts = one_line(row.model.name), _here(row, width)
        case Offer():
            title, parts = row.model.alias, _offer(row, width)
        case Part():
            title = one_line(row.part.name)
            parts = _facts(
                [
                    ("models.detail.size", size(row.part.bytes)),
                    ("models.detail.where", one_line(str(row.part.path))),
                ],
                width,
            )
            parts += _text(say(f"models.detail.part.{row.part.kind}"), width)
        case Typed():
            title, parts = one_line(row.name), _text(say("models.ask.network"), width)
        case Job():
            title, parts = one_line(row.task.name), _job(row, width)
    return Content.assemble((f"{title}\n\n", "bold $text-primary"), *parts).rstrip()


def planned(found: Planned, width: int) -> list[Piece]:
    """What a quantisation will write and take."""
    enough = found.disk_needed <= found.disk_free
    facts = [
        (
            "quantise.output",
            say(
                "quantise.writes",
                size=size(found.output_bytes),
                bits=decimal(found.bits_per_weight, 2),
                source=size(found.source_bytes),
            ),
            "",
        ),
        (
            "quantise.disk",
            say("quantise.disk_line", need=size(found.disk_needed), free=size(found.disk_free))
            + ("  ✓" if enough else "  ✗"),
            "" if enough else "$text-error",
        ),
        (
            "quantise.memory",
            say(
                "quantise.memory_line",
                need=size(found.memory),
                budget=size(found.budget),
                tokens=count(found.context),
            )
            + ("  ✓" if found.fits else "  ✗"),
            "" if found.fits else "$text-error",
        ),
        ("quantise.into", one_line(found.output), ""),
    ]
    parts: list[Piece] = []
    for key, text, style in facts:
        parts += hanging([(say(key), "$text-muted")], _NAMES, text, width, style)
    return parts


def kinds(found: Planned, width: int) -> list[Piece]:
    """A line for each kind of matrix: what becomes of it."""
    parts: list[Piece] = []
    for name, number, bits, amount in found.kinds:
        words = say("quantise.as_it_is") if bits is None else say("quantise.bits", bits=bits)
        left = f"{one_line(name)} ×{number}"[: max(8, width - 24)]
        parts.append((f"{left:<{max(8, width - 24)}}", "$text-muted"))
        parts.append((f"{words:>12}{size(amount):>11}\n", "$text-disabled" if bits is None else ""))
    return parts


def memory(plan: Plan, width: int) -> list[Piece]:
    """What a plan adds up to, beside what the machine gives."""
    share = min(1.0, plan.total / plan.budget) if plan.budget else 1.0
    verdict = say("models.fits" if plan.fits else "models.too_large")
    colour = "$text-success" if plan.fits else "$text-error"
    parts: list[Piece] = [
        (f"\n{say('models.detail.memory')} ", "bold"),
        (f"{say('models.detail.at', tokens=count(plan.context))}\n", "$text-muted"),
    ]
    cells = min(_METER, width - 8)
    full = round(share * cells)
    parts += [("━" * full, colour), ("━" * (cells - full), "$text-disabled")]
    parts.append((f"  {int(plan.total / max(1, plan.budget) * 100)} %\n", "$text-muted"))
    for key, amount in (
        ("weights", plan.weights),
        ("cache", plan.cache),
        ("workspace", plan.workspace),
        ("memory", plan.total),
        ("budget", plan.budget),
    ):
        name = say(f"models.detail.{key}")
        parts += [(f"{name:<{_NAMES}}", "$text-muted"), (f"{size(amount):>10}\n", "")]
    parts.append((f"{verdict}\n", colour))
    for notice in plan.notices:
        parts += [("\n", ""), *_text(one_line(notice), width)]
    return parts


def _here(row: Here, width: int) -> list[Piece]:
    model = row.model
    bits = f" · {say('quantise.bits', bits=f'{model.bits:g}')}" if model.bits else ""
    parts = _facts(
        [
            ("models.detail.type", one_line(model.model_type)),
            ("models.detail.size", f"{size(model.bytes)}{bits}"),
            ("models.detail.where", one_line(str(model.path))),
        ],
        width,
    )
    if row.plan:
        parts += memory(row.plan, width)
    if row.trouble:
        parts += [("\n", ""), *_text(one_line(row.trouble), width, "$text-error")]
    return parts


def _offer(row: Offer, width: int) -> list[Piece]:
    known = row.model
    amount = say("models.detail.unknown") if row.bytes is None else size(row.bytes)
    facts = [
        ("models.detail.original", known.hub_id),
        ("models.detail.type", known.kind),
        *_figures(known),
        ("models.detail.fetched", f"{amount} · {row.fetched}"),
    ]
    if known.licence:
        facts.append(("models.detail.licence", known.licence))
    parts = _facts(facts, width)
    if not row.converted:
        parts += [("\n", ""), *_text(say("models.detail.original_only"), width)]
    if row.plan:
        parts += memory(row.plan, width)
    if row.trouble:
        parts += [("\n", ""), *_text(one_line(row.trouble), width, "$text-error")]
    return parts


def _figures(known: KnownModel) -> list[tuple[str, str]]:
    facts: list[tuple[str, str]] = []
    if known.parameters is not None:
        number = decimal(known.parameters / 1e9)
        if known.active is not None and known.active < 0.5 * known.parameters:
            active = decimal(known.active / 1e9)
            text = say("models.detail.active", number=number, active=active)
        else:
            text = say("models.detail.dense", number=number)
        facts.append(("models.detail.parameters", text))
    if known.context is not None:
        native = count(known.context)
        if known.yarn_context:
            longest = count(known.yarn_context)
            native = say("models.detail.yarn", native=native, longest=longest)
        facts.append(("models.detail.context", native))
    return facts


def _job(job: Job, width: int) -> list[Piece]:
    head = [say(f"jobs.{job.task.kind}")]
    if job.state == "running":
        head.append(stage(job))
    parts: list[Piece] = [(f"{' · '.join(head)}\n", "$text-muted")]
    progress = job.progress
    if progress and job.active:
        parts += [*bar(progress.share, min(_METER, width - 8)), (f"  {percent(job)}\n", "")]
        if progress.total:
            parts.append((f"{size(progress.done)} / {size(progress.total)}\n", "$text-muted"))
        if progress.rate:
            parts.append((f"{size(round(progress.rate))}/s\n", "$text-muted"))
        if progress.seconds_left is not None:
            left = say("jobs.left", time=clock(progress.seconds_left))
            parts.append((f"{left}\n", "$text-muted"))
    if job.planned:
        parts += [("\n", ""), *planned(job.planned, width)]
    if job.failure:
        parts += [("\n", ""), *_text(one_line(job.failure.what), width, "$text-error")]
        parts += _text(one_line(job.failure.hint), width)
        parts += [("\n", ""), *_text(kept(job), width)]
    if job.verified:
        for problem in job.verified.problems:
            parts += [("\n", ""), *_text(one_line(problem), width, "$text-error")]
        for note in job.verified.notes:
            parts += [("\n", ""), *_text(one_line(note), width)]
    return parts


def _facts(facts: list[tuple[str, str]], width: int) -> list[Piece]:
    parts: list[Piece] = []
    for key, text in facts:
        parts += hanging([(say(key), "$text-muted")], _NAMES, text, width)
    return parts


def _text(text: str, width: int, style: str = "$text-muted") -> list[Piece]:
    return hanging([], 0, text, width, style)
