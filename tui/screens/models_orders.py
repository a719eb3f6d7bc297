"""What the dialogs of the models' screen ask for, as tasks; and what they say beforehand."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content

from mlxqwen.hub.library import LocalModel
from mlxqwen.hub.removal import Removal

from ..job import Task
from ..tilde import expanded
from ..units import count, size
from ..views import one_line
from ..words import say
from .models_confirm import Confirm
from .models_facts import Facts, Offer, Part, Typed


@dataclass(frozen=True, slots=True)
class Quantising:
    """What the dialog for quantising was left with.

    Attributes:
        source: A folder, a name, or ``ORG/NAME``.
        way: A recipe, or ``fit``.
        budget: With ``fit``, a size such as ``16GB``.
        context: Tokens to make room for.
        discard: From the hub: keep none of the original's files.
        network: The source is not on this machine.
        short: The source's name without its owner.
    """

    source: str
    way: str
    budget: str
    context: int
    discard: bool
    network: bool
    short: str

    @property
    def arguments(self) -> tuple[str, ...]:
        """Of ``mlxqwen quantize``."""
        folder = expanded(self.source)
        source = str(folder.absolute()) if folder.is_dir() else self.source
        if self.way == "fit":
            options = ("--fit", self.budget, "--context", str(self.context))
        else:
            options = ("--recipe", self.way)
        return (source, *options, *(("--discard-source",) if self.discard else ()))

    @property
    def dry_run(self) -> tuple[str, ...]:
        """The same as a question."""
        return (*self.arguments, "--context", str(self.context), "--dry-run")

    @property
    def task(self) -> Task:
        """The same as work."""
        return Task("quantize", self.short, self.arguments, self.network)


def pull_task(name: str) -> Task:
    """A download that a person has agreed to."""
    return Task("pull", name, (name,), network=True)


def verify_task(model: LocalModel) -> Task:
    """A reading of every byte."""
    return Task("verify", model.name, (str(model.path),))


def ask_download(row: Offer | Part | Typed, facts: Facts) -> Confirm:
    """What a download brings, where it goes, that it uses the network."""
    resumes = isinstance(row, Part)
    name = one_line(row.model.alias if isinstance(row, Offer) else download_name(row))
    amount = row.bytes if isinstance(row, Offer) else None
    source, free = one_line(download_name(row)), size(facts.cache_free)
    lines: list[Content | tuple[str, str]] = []
    if amount is None:
        lines.append((say("models.ask.amount_unknown", source=source, free=free), ""))
    else:
        text = say("models.ask.amount", size=size(amount), source=source, free=free)
        lines.append((text, ""))
        if amount > facts.cache_free:
            lines.append((f"\n{say('models.ask.no_room')}", "$text-error"))
    if isinstance(row, Offer) and row.plan:
        verdict = say("models.fits" if row.plan.fits else "models.too_large")
        tokens = count(row.plan.context)
        needs = say("models.ask.needs", size=size(row.plan.total), tokens=tokens, verdict=verdict)
        lines.append((f"\n\n{needs}", "" if row.plan.fits else "$text-error"))
    lines.append((f"\n\n{say('models.ask.network')}", "$text-warning"))
    title = say("models.ask.resume" if resumes else "models.ask.download", name=name)
    text = Content.assemble(*lines)
    return Confirm(title, text, say("models.yes.download"), say("models.no"))


def download_name(row: Offer | Part | Typed) -> str:
    """What ``mlxqwen pull`` is asked for."""
    match row:
        case Offer():
            return row.fetched
        case Part():
            return row.part.name
        case Typed():
            return row.name


def ask_removal(removal: Removal) -> Confirm:
    """What goes, and that it does not come back."""
    key = "models.ask.remove_part" if removal.unfinished else "models.ask.remove"
    text = say("models.ask.frees", path=one_line(str(removal.path)), size=size(removal.bytes))
    title = say(key, name=one_line(removal.name))
    yes, no = say("models.yes.remove"), say("models.keep")
    return Confirm(title, Content(text), yes, no, careful=True)
