"""The released models that mlxqwen knows by name: what they are, and whether they fit here."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mlxqwen.errors import ContextExceeded, ModelNotFound

from ..units import count, size
from .columns import columns
from .output import dump_json

if TYPE_CHECKING:
    from mlxqwen import Plan
    from mlxqwen.hub.catalogue import KnownModel

_UNKNOWN = "–"
_BITS = 4  # the form in which people run them
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "presence", "repetition")


def print_known(context: int, *, as_json: bool) -> None:
    """The table of released models, each planned in 4 bits with ``context`` tokens."""
    from mlxqwen.device import memory_budget
    from mlxqwen.hub.catalogue import MODELS

    plans = [(model, _plan(model, context)) for model in MODELS]
    if as_json:
        records = [_record(model, planned) for model, planned in plans]
        dump_json(records, indent=2)
        return
    head = ("NAME", "KIND", "FULL", "4 BITS", "CONTEXT", "YARN", "THINKS", "NEEDS", "FITS")
    rows = [head, *(_row(model, planned) for model, planned in plans)]
    for line in columns(rows, right={2, 3, 4, 5, 7}):
        print(line)
    print(
        f"\nNEEDS is memory in {_BITS} bits with {context:,} tokens of context; "
        f"this machine gives {size(memory_budget())}."
    )


def facts(model: KnownModel) -> str:
    """What the catalogue says of one model, a line for each thing that is known."""
    lines = [("original", model.hub_id), ("kind", f"{model.kind} ({model.model_type})")]
    if model.parameters is not None and model.active is not None:
        working = f", {model.active:,} at work" if model.active != model.parameters else ""
        lines.append(("parameters", f"{model.parameters:,}{working}"))
    if model.context is not None:
        yarn = "" if model.yarn_context is None else f", {model.yarn_context:,} with YaRN"
        lines.append(("context", f"{model.context:,} tokens{yarn}"))
    if model.thinking is not None:
        lines.append(("thinks", {"switch": "as asked"}.get(model.thinking, model.thinking)))
    if model.sampling is not None:
        settings = asdict(model.sampling)
        given = [f"{name} {settings[name]:g}" for name in _SAMPLING if settings[name] is not None]
        lines.append(("sampling", ", ".join(given)))
    if model.licence is not None:
        lines.append(("licence", model.licence))
    return "\n".join(f"  {name:<10}  {value}" for name, value in lines)


def _plan(model: KnownModel, context: int) -> Plan | None:
    """The plan; None where sizes are not known, or the context is out of reach."""
    from mlxqwen import plan

    try:
        return plan(model.hub_id, context=context, bits=_BITS)
    except (ModelNotFound, ContextExceeded):
        return None


def _row(model: KnownModel, planned: Plan | None) -> tuple[str, ...]:
    return (
        model.alias,
        model.kind,
        _UNKNOWN if model.tensor_bytes is None else size(model.tensor_bytes),
        _UNKNOWN if planned is None else size(planned.stored),
        _UNKNOWN if model.context is None else count(model.context),
        _UNKNOWN if model.yarn_context is None else count(model.yarn_context),
        model.thinking or _UNKNOWN,
        _UNKNOWN if planned is None else size(planned.total),
        _UNKNOWN if planned is None else ("yes" if planned.fits else "no"),
    )


def _record(model: KnownModel, planned: Plan | None) -> dict[str, Any]:
    """The same for programs; everything in bytes and tokens, null where it is not known."""
    record = {**asdict(model), "tensor_bytes": model.tensor_bytes}
    if planned is not None:
        figures = {**asdict(planned), "total": planned.total, "fits": planned.fits, "bits": _BITS}
        record["plan"] = figures
    else:
        record["plan"] = None
    return record
