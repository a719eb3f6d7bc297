"""What is known of models without asking the network: here, half here, and released.

Everything here reads files and computes for a moment, so it is called in a thread of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlxqwen.device import memory_budget, total_memory
from mlxqwen.engine.memory import Plan, plan
from mlxqwen.errors import ContextExceeded, MlxqwenError, ModelNotFound
from mlxqwen.hub.catalogue import MODELS, KnownModel
from mlxqwen.hub.library import LocalModel, local_models
from mlxqwen.hub.places import data_folder, hub_cache
from mlxqwen.hub.unfinished import Unfinished, unfinished

from ..tilde import expanded

CONTEXTS = (4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144)
"""Contexts to choose from; beside them 0, which is as many tokens as fit."""
CONTEXT = 32_768

_EASY = 0.75  # of the memory for models, which other programs want too
_BITS = 4  # the form in which people run them


@dataclass(frozen=True, slots=True)
class Here:
    """A model on this machine: what it needs, or why it cannot be run.

    ``asked`` is the context wanted; the plan is for fewer tokens where the model reaches no more.
    """

    model: LocalModel
    plan: Plan | None = None
    trouble: str = ""
    asked: int = 0

    @property
    def row(self) -> str:
        """A name that no other row has."""
        return f"here:{self.model.name}"


@dataclass(frozen=True, slots=True)
class Part:
    """A download or a quantisation that was broken off."""

    part: Unfinished

    @property
    def row(self) -> str:
        """A name that no other row has."""
        return f"part:{self.part.name}"


@dataclass(frozen=True, slots=True)
class Offer:
    """A released model.

    Attributes:
        fetched: What a download brings: the hub id of a 4-bit conversion, or of the original.
        bytes: Size of that; None where it is not known.
        plan: What it needs in four bits; None where that is not known.
        trouble: Why there is no plan, where there is a reason to tell.
        asked: The context wanted, which the plan's may fall short of.
    """

    model: KnownModel
    fetched: str
    bytes: int | None
    plan: Plan | None
    trouble: str = ""
    asked: int = 0

    @property
    def row(self) -> str:
        """A name that no other row has."""
        return f"known:{self.model.alias}"

    @property
    def converted(self) -> bool:
        """Whether a 4-bit conversion is published, so that nothing has to be quantised."""
        return bool(self.model.mlx_ids)


@dataclass(frozen=True, slots=True)
class Typed:
    """A repository that the catalogue does not know, by the name that was typed."""

    name: str

    @property
    def row(self) -> str:
        """A name that no other row has."""
        return f"hub:{self.name}"


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything at one context.

    Attributes:
        context: Tokens to make room for; 0 for as many as fit.
        memory: Bytes of the machine; ``budget`` is what models may take of them.
        free: Bytes left on the disk of our own models.
        cache_free: Bytes left on the disk of the hub's cache.
    """

    context: int
    here: tuple[Here, ...]
    parts: tuple[Part, ...]
    offers: tuple[Offer, ...]
    memory: int
    budget: int
    free: int
    cache_free: int


def gather(context: int) -> Facts:
    """Look at everything on this machine, and plan it with ``context`` tokens."""
    models = local_models()
    budget = memory_budget()
    return Facts(
        context=context,
        here=tuple(_here(model, context, budget) for model in models),
        parts=tuple(Part(part) for part in unfinished()),
        offers=offers(context, models, budget),
        memory=total_memory(),
        budget=budget,
        free=free_at(data_folder()),
        cache_free=free_at(hub_cache()),
    )


def offers(context: int, models: Sequence[LocalModel], budget: int) -> tuple[Offer, ...]:
    """The released models that are not on this machine, in the catalogue's order."""
    names = {model.name.lower() for model in models}
    found: list[Offer] = []
    for known in MODELS:
        fetched = (*known.mlx_ids, known.hub_id)[0]
        if fetched.lower() in names:
            continue
        planned, trouble = _planned(
            lambda tokens, known=known: plan(
                known.hub_id, context=tokens, bits=_BITS, budget=budget
            ),
            context,
        )
        amount = known.file_bytes or known.tensor_bytes
        if known.mlx_ids:
            amount = known.mlx_bytes or (planned.stored if planned else None)
        found.append(Offer(known, fetched, amount, planned, trouble, context))
    return tuple(found)


def preselected(found: Sequence[Offer]) -> Offer | None:
    """The model to suggest: the largest that leaves room for other programs; else the smallest.

    Of equals the newest. Models that always think first are not what one wants to begin with.
    """
    fitting = [one for one in found if one.converted and one.plan and one.plan.fits]
    fitting = [one for one in fitting if one.model.thinking != "always"]
    needs = [one.plan.total if one.plan else 0 for one in fitting]
    easy = [
        (need, place)
        for place, (one, need) in enumerate(zip(fitting, needs, strict=True))
        if one.plan and need <= _EASY * one.plan.budget
    ]
    if easy:
        return fitting[max(easy)[1]]
    return min(zip(needs, fitting, strict=True), key=lambda one: one[0], default=(0, None))[1]


def free_at(path: Path) -> int:
    """Bytes free where ``path`` is or will be; 0 where that cannot be told."""
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return 0


def refusal(folder: str) -> str:
    """Why ``folder`` is no model that can be used, in English as errors are; "" where it is."""
    path = expanded(folder.strip())
    try:
        if not folder.strip() or not path.is_dir():
            raise ModelNotFound(f"There is no folder {folder.strip() or '“”'}.")
        plan(path)
    except MlxqwenError as error:
        return str(error)
    except OSError as error:
        return str(error)
    return ""


def _here(model: LocalModel, context: int, budget: int) -> Here:
    planned, trouble = _planned(
        lambda tokens: replace(plan(model.path, context=tokens, budget=budget), model=model.name),
        context,
    )
    return Here(model, planned, trouble, context)


def _planned(planner: Callable[[int | None], Plan], context: int) -> tuple[Plan | None, str]:
    """The plan at ``context``, or at the model's own limit where it does not reach so far."""
    try:
        try:
            return planner(context or None), ""
        except ContextExceeded:
            return planner(None), ""
    except ModelNotFound:
        return None, ""
    except MlxqwenError as error:
        return None, str(error)
    except OSError as error:
        return None, str(error)
