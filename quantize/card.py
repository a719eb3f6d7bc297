"""The model card of a quantised checkpoint: README.md with the hub's front matter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from mlxqwen import __version__

from .plan import Plan
from .recipes import Recipe

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_SNAPSHOT = re.compile(r"models--(?P<owner>[^/]+?)--(?P<name>[^/]+)")
# Values that need no quoting in YAML.
_PLAIN = re.compile(r"[A-Za-z0-9][\w./:+-]*")
_LICENCE_KEYS = ("license", "license_name", "license_link")


def model_card(source: Path, config: Mapping[str, object], recipe: Recipe, plan: Plan) -> str:
    """The card's text. Licence and base model come from the source, where it tells them."""
    base = base_model(source, config)
    default = plan.quantization.default
    front = ["library_name: mlx", "pipeline_tag: text-generation"]
    front += [f"{key}: {value}" for key, value in source_licence(source).items()]
    if base is not None:
        front += [f"base_model: {base}", "base_model_relation: quantized"]
    front += ["tags:", "- mlx", f"- {default.bits}-bit"]
    origin = f"[{base}](https://huggingface.co/{base})" if base else f"`{source.resolve().name}`"
    others = sum(spec is not None for spec in plan.quantization.overrides.values())
    kept = len(plan.quantization.overrides) - others
    return "\n".join(
        [
            "---",
            *front,
            "---",
            "",
            f"# {origin}, quantised for MLX",
            "",
            f"Made from {origin} with mlxqwen {__version__}, recipe `{recipe.name}`: "
            f"{default.mode} {default.bits}-bit in groups of {default.group_size}; "
            f"{others} modules with another width, {kept} left unquantised. "
            f"{plan.bits_per_weight:.3f} bits per weight, {plan.tensor_bytes:,} bytes of weights.",
            "",
            "```shell",
            "mlxqwen chat PATH",
            "mlx_lm.generate --model PATH --prompt 'Hello'",
            "```",
            "",
        ]
    )


def base_model(source: Path, config: Mapping[str, object]) -> str | None:
    """The hub id of the source: from its place in the hub's cache, or from its configuration."""
    for part in source.absolute().parts:
        match = _SNAPSHOT.fullmatch(part)
        if match:
            return f"{match['owner']}/{match['name']}"
    name = config.get("_name_or_path")
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
