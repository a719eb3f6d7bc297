"""How tokens are chosen: what a caller may ask for, and what a checkpoint recommends. No MLX."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from ..errors import CheckpointError, UsageError

# Where neither caller nor checkpoint says anything: Qwen's published values for plain answers.
_FALLBACK_TEMPERATURE, _FALLBACK_TOP_P, _FALLBACK_TOP_K = 0.7, 0.8, 20


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling settings; ``None`` is the checkpoint's own default.

    Applied in the order of Transformers and vLLM, which the published values assume:
    penalties → temperature → top-k → top-p → min-p.

    Attributes:
        temperature: Divides the logits; 0 is greedy.
        top_p: Keeps the likeliest tokens whose probabilities reach this sum; 1 keeps all.
        top_k: Keeps this many tokens; 0 keeps all.
        min_p: Drops tokens below this share of the likeliest one's probability.
        presence: Subtracted from the logit of every token that the answer already contains.
        repetition: Divides (or multiplies, where negative) the logit of every token that prompt or
            answer contain; 1 changes nothing.
        seed: Makes a run repeatable on the same machine and MLX version.

    Raises:
        UsageError: for a value outside its range, on construction.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    presence: float | None = None
    repetition: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        _check("temperature", self.temperature, 0.0, math.inf)
        _check("top_p", self.top_p, 0.0, 1.0)
        _check("top_k", self.top_k, 0, math.inf, whole=True)
        _check("min_p", self.min_p, 0.0, 1.0)
        _check("presence", self.presence, -100.0, 100.0)
        _check("repetition", self.repetition, 0.01, 100.0)
        _check("seed", self.seed, 0, 2**64 - 1, whole=True)

    def over(self, defaults: Sampling) -> Sampling:
        """These settings, with ``defaults`` where they are ``None``."""
        chosen = {
            field.name: mine if mine is not None else theirs
            for field, mine, theirs in zip(
                fields(self), _values(self), _values(defaults), strict=True
            )
        }
        return Sampling(**chosen)

    @classmethod
    def from_generation_config(cls, config: Mapping[str, Any]) -> Self:
        """The checkpoint's recommendation in ``generation_config.json``.

        A file that says nothing of sampling gives Qwen's published values; one that says
        ``do_sample: false`` means greedy.

        Raises:
            CheckpointError: a value is of the wrong kind or out of range.
        """

        def stated(key: str, otherwise: float) -> Any:
            value = config.get(key)
            return otherwise if value is None else value

        greedy = config.get("do_sample") is False
        try:
            return cls(
                temperature=0.0 if greedy else stated("temperature", _FALLBACK_TEMPERATURE),
                top_p=stated("top_p", _FALLBACK_TOP_P),
                top_k=stated("top_k", _FALLBACK_TOP_K),
                min_p=stated("min_p", 0.0),
                presence=stated("presence_penalty", 0.0),
                repetition=stated("repetition_penalty", 1.0),
            )
        except UsageError as error:
            raise CheckpointError(
                f"generation_config.json recommends what cannot be: {error.what}",
                "Correct that value, or remove the file.",
            ) from error


def _values(sampling: Sampling) -> tuple[Any, ...]:
    return (
        sampling.temperature,
        sampling.top_p,
        sampling.top_k,
        sampling.min_p,
        sampling.presence,
        sampling.repetition,
        sampling.seed,
    )


def _check(name: str, value: object, low: float, high: float, *, whole: bool = False) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        wanted = "a whole number" if whole else "a number"
        raise UsageError(f"{name} is {value!r}; it must be {wanted}.")
    if not low <= value <= high:
        limit = f"between {low:g} and {high:g}" if high < math.inf else f"at least {low:g}"
        raise UsageError(f"{name} is {value:g}; it must be {limit}.")


GREEDY = Sampling(temperature=0.0, top_p=1.0, top_k=0, min_p=0.0, presence=0.0, repetition=1.0)
