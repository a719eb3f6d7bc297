"""What an answer would take, before it is asked for: tokens, memory, and what to do if too much.

Nothing is computed on the device: the prompt is rendered and encoded, and memory follows from the
rules of ``memory``. So it may be asked on any thread, also while an answer is being written.
"""

from __future__ import annotations

import sys

from ..device import memory_budget
from ..model.config import ModelConfig
from .events import Advice, Forecast
from .memory import Plan, bytes_in_use

TYPICAL_ANSWER = 1024
"""Tokens that an answer is taken to have where nothing says otherwise."""
_WORTH_WHILE = 512  # tokens of room for an answer for which a model is loaded anew
_STEP = 1024


def forecast(
    plan: Plan,
    config: ModelConfig,
    *,
    prompt: int,
    cached: int,
    draft: int,
    held: int,
    reach: int,
    max_tokens: int | None = None,
    budget: int | None = None,
) -> Forecast:
    """The forecast for a prompt whose tokens are counted.

    Args:
        plan: What the model was loaded with; ``config`` its architecture.
        prompt: Tokens of the rendered prompt, ``cached`` of them read already.
        draft: Tokens of the last message alone.
        held: Bytes that the model takes now.
        reach: The longest context that the model can be loaded with.
        max_tokens: The answer's limit, where there is one.
        budget: Bytes that the model may take; by default what the machine gives now.
    """
    room = max(0, plan.context - prompt)
    longest = room if max_tokens is None else min(max_tokens, room)
    answer = min(longest, TYPICAL_ANSWER)
    needed = bytes_in_use(plan.weights, config, prompt + answer)
    given = _budget_now(plan, held) if budget is None else budget
    advice: Advice = ""
    larger = 0
    if room == 0:
        larger = _larger_context(plan, config, prompt, reach, given)
        advice = "larger_context" if larger else "shorten"
    elif needed > given:
        empty = bytes_in_use(plan.weights, config, TYPICAL_ANSWER)
        advice = "shorten" if empty <= given else "smaller_model"
    return Forecast(
        prompt_tokens=prompt,
        cached_tokens=cached,
        draft_tokens=draft,
        answer_tokens=answer,
        context=plan.context,
        held=held,
        needed=needed,
        needed_at_most=bytes_in_use(plan.weights, config, prompt + longest),
        budget=given,
        advice=advice,
        larger_context=larger,
    )


def _budget_now(plan: Plan, held: int) -> int:
    """What the machine gives now, and never more than it gave when the model was loaded.

    A Mac's limit does not change; elsewhere other programs may have taken memory since.
    """
    if sys.platform == "darwin":
        return plan.budget
    return min(plan.budget, memory_budget(held))


def _larger_context(plan: Plan, config: ModelConfig, prompt: int, reach: int, budget: int) -> int:
    """A context that holds the prompt and an answer, and fits into memory; 0 where none does."""
    least = prompt + _WORTH_WHILE
    comfortable = 1 << (prompt + _STEP).bit_length()
    for tokens in (comfortable, -(-least // _STEP) * _STEP, reach):
        room = max(plan.workspace + plan.weights, bytes_in_use(plan.weights, config, tokens))
        if least <= tokens <= reach and room <= budget:
            return tokens
    return 0
