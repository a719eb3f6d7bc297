"""Turns a Hugging Face Qwen checkpoint into a quantised MLX model.

``quantise(source, output)`` is the whole path; ``quantize.plan`` tells the outcome without doing
the work and without MLX. Importing this package imports neither MLX nor anything heavy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .pipeline import quantise
    from .plan import Plan, make_plan
    from .progress import Progress, Result
    from .recipes import FAST, Recipe, choose_recipe

__all__ = [
    "FAST",
    "Plan",
    "Progress",
    "Recipe",
    "Result",
    "choose_recipe",
    "make_plan",
    "quantise",
]

_HOMES = {
    "FAST": "recipes",
    "Plan": "plan",
    "Progress": "progress",
    "Recipe": "recipes",
    "Result": "progress",
    "choose_recipe": "recipes",
    "make_plan": "plan",
    "quantise": "pipeline",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return vars(import_module(f".{home}", __name__))[name]
