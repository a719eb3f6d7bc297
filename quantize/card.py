"""The model card of a quantised checkpoint: README.md with the hub's front matter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from mlxqwen import __version__
from mlxqwen.checkpoint.directory import Directory

from .manifest import TensorError
from .plan import Plan
from .supply import Supply

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)
_SNAPSHOT = re.compile(r"models--(?P<owner>[^/]+?)--(?P<name>[^/]+)")
# Values that need no quoting in YAML.
_PLAIN = re.compile(r"[A-Za-z0-9][\w./:+-]*")
_LICENCE_KEYS = ("license", "license_name", "license_link")

# Modules that the card shows because rounding changed them most.
_WORST = 5


def model_card(supply: Supply, plan: Plan, tensors: Mapping[str, TensorError]) -> str:
    """The card's text. Licence and base model come from the source, where it tells them.

    Args:
        tensors: The sampled errors by module.
    """
    directory = supply.directory
    base = base_model(supply)
    default = plan.quantization.default
    front = ["library_name: mlx", "pipeline_tag: text-generation"]
    front += [f"{key}: {value}" for key, value in source_licence(directory.path).items()]
    if base is not None:
        front += [f"base_model: {base}", "base_model_relation: quantized"]
    front += ["tags:", "- mlx", f"- {default.bits}-bit"]
    name = source_name(supply)
    origin = f"[{base}](https://huggingface.co/{base})" if base else f"`{name}`"
    revision = f" at commit `{supply.revision}`" if supply.revision else ""
    others = sum(spec is not None for spec in plan.quantization.overrides.values())
    kept = len(plan.quantization.overrides) - others
    return "\n".join(
        [
            "---",
            *front,
            "---",
            "",
            f"# {name.rpartition('/')[2]}, quantised for MLX",
            "",
            f"Made from {origin}{revision} with mlxqwen {__version__}.",
            "",
            f"Recipe {plan.recipe.describe()}. {default.mode} {default.bits}-bit in groups of "
            f"{default.group_size}; {others} modules with another width, {kept} left unquantised. "
            f"{plan.bits_per_weight:.3f} bits per weight, {plan.tensor_bytes:,} bytes of weights.",
            "",
            *_error_table(tensors),
            "## Use",
            "",
            "```shell",
            "mlxqwen chat PATH",
            "mlx_lm.generate --model PATH --prompt 'Hello'",
            "```",
            "",
            "`mlxqwen verify PATH` compares every file with `mlxqwen.json`, which also says how "
            "far each module is from the original.",
            "",
        ]
    )


def source_name(supply: Supply) -> str:
    """A hub id, or a folder's name without the path, which is nobody's business."""
    if supply.revision:
        return supply.name
    name = base_model(supply) or supply.directory.path.resolve().name
    # A folder may bear what is no text, or what would end a line or a quotation of the card.
    return "".join(c if c.isprintable() and c != "`" else "�" for c in name)


def base_model(supply: Supply) -> str | None:
    """The hub id of the source, where it is known."""
    return supply.name if supply.revision else known_base(supply.directory)


def known_base(directory: Directory) -> str | None:
    """The hub id of a folder: from its place in the hub's cache, or from its configuration."""
    for part in directory.path.absolute().parts:
        match = _SNAPSHOT.fullmatch(part)
        if match and _HUB_ID.fullmatch(name := f"{match['owner']}/{match['name']}"):
            return name
    name = directory.config.get("_name_or_path")
    return name if isinstance(name, str) and _HUB_ID.fullmatch(name) else None


def source_licence(source: Path) -> dict[str, str]:
    """The licence keys of the source card's front matter, {} without any."""
    card = source / "README.md"
    if not card.is_file():
        return {}
    lines = card.read_text("utf-8", errors="replace").splitlines()
    if not lines or lines[0].strip() != "---":
        return {}
    found: dict[str, str] = {}
    for line in lines[1:]:
        if line.strip() == "---":
            return found
        key, _, value = line.partition(":")
        plain = value.strip().strip("\"'")
        if key in _LICENCE_KEYS and _PLAIN.fullmatch(plain):
            found[key] = plain
    return {}


def _error_table(tensors: Mapping[str, TensorError]) -> list[str]:
    """Mean and extremes of what rounding did."""
    if not tensors:
        return []
    mean = sum(t.relative_mse for t in tensors.values()) / len(tensors)
    worst = sorted(tensors.items(), key=lambda item: (-item[1].relative_mse, item[0]))[:_WORST]
    rows = [
        f"| `{name}` | {error.bits} | {error.relative_mse:.3%} | {error.cosine:.5f} |"
        for name, error in worst
    ]
    return [
        "## Error of the weights",
        "",
        f"Rounding changed the weights of {len(tensors)} modules by {mean:.3%} of their squares on "
        "average (on sampled rows); most in these:",
        "",
        "| module | bits | squared error / squares | cosine |",
        "|---|---|---|---|",
        *rows,
        "",
    ]
