"""The engine: one model, one thread that owns all its arrays, and runs that yield events.

MLX arrays that are not yet evaluated must not cross threads, and two threads that evaluate at once
can deadlock (ml-explore/mlx-lm#1181, #1834). So every MLX call, from loading to closing, happens on
one thread; callers get plain Python values.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import mlx.core as mx

from ..checkpoint.directory import Directory
from ..checkpoint.load import eos_token_ids, load_model
from ..checkpoint.quantspec import parse_quantization
from ..device import wire_memory
from ..errors import ContextExceeded, EngineError, UsageError
from ..generate.options import Sampling
from ..generate.prefix import Timeline, shared_prefix
from ..hub.library import resolve
from ..hub.places import kernel_record
from ..model.config import ModelConfig
from ..model.decoder import Model
from ..model.kernels.make import available
from ..text.channels import Channels
from ..text.template import opens_thinking
from ..text.tokenizer import Tokenizer
from ..text.turns import TurnEncoder
from .events import Forecast
from .forecast import forecast
from .generation import Request, ThoughtLimit, generate
from .memory import Plan, plan_directory, require
from .messages import Message
from .rendering import rendering
from .run import Run, Stream
from .stretch import longest_context, stretched

if TYPE_CHECKING:
    from ..model.fused import FusedModel

# What closes a thought that has used its budget: the words that Qwen publishes for it (technical
# report of Qwen3, arXiv 2505.09388, section 4.3, and the guide to thinking budgets).
END_OF_BUDGET = (
    "\n\nConsidering the limited time by the user, "
    "I have to give the solution based on the thinking directly now.\n</think>\n\n"
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory with all that its checkpoint says about using it."""

    name: str
    path: Path
    model: Model
    fused: FusedModel | None
    tokenizer: Tokenizer
    config: ModelConfig
    eos: frozenset[int]
    sampling: Sampling
    plan: Plan
    reach: int  # tokens of the longest context it can be loaded with
    turns: TurnEncoder
    description: str


class Engine:
    """A model that answers. Make one with ``Engine.load``; use it as a context manager."""

    def __init__(self, loaded: Loaded, owner: ThreadPoolExecutor) -> None:
        self._state: tuple[Loaded, Timeline] | None = (loaded, Timeline(loaded.model, loaded.fused))
        self._owner = owner
        self._unfinished: set[Stream] = set()

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str],
        *,
        context: int | None = None,
        budget: int | None = None,
    ) -> Engine:
        """Loads a model that is on this machine; never downloads.

        Args:
            source: A folder, an alias such as ``"guide"``, or a hub id that is here already.
            context: Tokens of prompt and answer together; by default the model's own limit, or
                the longest that fits into memory. Beyond its own limit YaRN is switched on, and
                ``notices`` says so.
            budget: Bytes that the model may take; by default what this machine gives.

        Raises:
            ModelNotFound: no such model here; the message names ``mlxqwen pull``.
            DoesNotFit: it needs more memory than there is; nothing was loaded.
            ContextExceeded: it cannot be stretched to that context.
            CheckpointError, UnsupportedModel, TokenizerError: its files cannot be used.
        """
        name = os.fspath(source)
        owner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlxqwen")
        try:
            loaded = owner.submit(_load, name, context, budget).result()
        except BaseException:
            owner.shutdown(wait=False)
            raise
        return cls(loaded, owner)

    @property
    def _loaded(self) -> Loaded:
        if self._state is None:
            raise EngineError("This engine is closed.", "Load the model again.")
        return self._state[0]

    @property
    def _timeline(self) -> Timeline:
        assert self._state is not None
        return self._state[1]

    @property
    def name(self) -> str:
        """The model as it was asked for."""
        return self._loaded.name

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._loaded.path

    @property
    def config(self) -> ModelConfig:
        """Its architecture."""
        return self._loaded.config

    @property
    def description(self) -> str:
        """What it is in a few words, for people."""
        return self._loaded.description

    @property
    def plan(self) -> Plan:
        """The memory it was planned to take."""
        return self._loaded.plan

    @property
    def context(self) -> int:
        """Tokens of prompt and answer together."""
        return self._loaded.plan.context

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know about how the model was loaded, in plain sentences."""
        return self._loaded.plan.notices

    @property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer; safe to use from any thread."""
        return self._loaded.tokenizer

    @property
    def thinks(self) -> bool:
        """Whether its chat template knows of thinking."""
        template = self._loaded.tokenizer.chat_template
        return template is not None and "<think>" in template.source

    def chat(
        self,
        messages: str | Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        think: bool | int | None = None,
        sampling: Sampling | None = None,
        stop: str | Sequence[str] = (),
        max_tokens: int | None = None,
    ) -> Run:
        """Answers a conversation, rendered with the checkpoint's own template.

        Args:
            messages: A question, or messages with ``role`` and ``content``: a string, or a list of
                parts of type "text".
            tools: JSON schemas of functions the model may call.
            think: Whether to think before the answer; None leaves it to the template. False works
                for every model: a thought that the template opens regardless is closed at once. A
                number is a budget in tokens: a thought that has used it is brought to its end
                (some 25 tokens more), and the answer follows. 0 is the same as False.
            sampling: Fields that are ``None`` take the checkpoint's defaults.
            stop: Strings that end the answer; none of them appears in it.
            max_tokens: Ends the answer after so many tokens; by default the context's end does.

        Raises:
            TemplateError: the checkpoint has no chat template, or it refuses the conversation.
            ContextExceeded: the conversation fills the context.
            UsageError: a budget below 0; a message of an unknown role, or with parts that are no
                text.
            EngineError: the engine is closed.
        """
        loaded = self._loaded
        rendered = rendering(loaded.tokenizer, loaded.name, messages, tools, think)
        prompt = rendered.prompt
        channels = Channels(thinking=opens_thinking(prompt), tools=tools, stop=_strings(stop))
        encode = loaded.turns.encode
        limit = None
        if think and think is not True:
            limit = ThoughtLimit(think, tuple(encode(END_OF_BUDGET)))
        ids = encode(prompt)
        marked = 0
        if self.config.delta is not None:
            # The next turn repeats everything up to the end of this question, and no more: what it
            # renders of this answer begins otherwise.
            marked = shared_prefix(ids, encode(rendered.without_answer()))
        return self._start(ids, channels, sampling, max_tokens, limit, marked)

    def forecast(
        self,
        messages: str | Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        think: bool | int | None = None,
        max_tokens: int | None = None,
    ) -> Forecast:
        """What ``chat`` would take with these arguments: tokens, memory, and advice if too much.

        May be called on any thread, also while a run goes on; turns that were seen before cost
        next to nothing. Errors as ``chat``, but that a full context is an advice here.
        """
        loaded, timeline = self._loaded, self._timeline
        rendered = rendering(loaded.tokenizer, loaded.name, messages, tools, think)
        ids = loaded.turns.encode(rendered.prompt)
        draft = str(rendered.messages[-1].get("content") or "") if rendered.messages else ""
        return forecast(
            loaded.plan,
            loaded.config,
            prompt=len(ids),
            cached=timeline.covers(ids),
            draft=len(loaded.tokenizer.encode(draft)),
            # A counter of the allocator's: it may be read on any thread.
            held=mx.get_active_memory(),
            reach=loaded.reach,
            max_tokens=max_tokens,
        )

    def complete(
        self,
        prompt: str | Sequence[int],
        *,
        sampling: Sampling | None = None,
        stop: str | Sequence[str] = (),
        max_tokens: int | None = None,
    ) -> Run:
        """Continues text, or token ids, without a template. Arguments and errors as ``chat``.

        Raises:
            UsageError: the prompt is empty, or an id is not in the vocabulary.
        """
        encode = self._loaded.tokenizer.encode
        ids = encode(prompt, add_special_tokens=True) if isinstance(prompt, str) else list(prompt)
        return self._start(ids, Channels(stop=_strings(stop), raw=True), sampling, max_tokens)

    def close(self) -> None:
        """Cancels what runs, frees the model, ends the thread. May be called twice."""
        if self._state is None:
            return
        self._state = None
        for stream in list(self._unfinished):
            stream.cancelled.set()
        self._owner.submit(mx.clear_cache)
        self._owner.shutdown(wait=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(
        self,
        ids: list[int],
        channels: Channels,
        sampling: Sampling | None,
        max_tokens: int | None,
        thought_limit: ThoughtLimit | None = None,
        marked: int = 0,
    ) -> Run:
        self._check(ids, max_tokens)
        room = self.context - len(ids)
        request = Request(
            prompt=ids,
            channels=channels,
            sampling=(sampling or Sampling()).over(self._loaded.sampling),
            max_tokens=room if max_tokens is None else min(max_tokens, room),
            eos=self._loaded.eos,
            detokenizer=self._loaded.tokenizer.detokenizer(),
            started=time.perf_counter(),
            thought_limit=thought_limit,
            marked=marked,
        )
        stream = Stream()
        self._unfinished.add(stream)
        future = self._owner.submit(generate, self._timeline, request, stream)
        future.add_done_callback(lambda done: self._finish(done, stream))
        return Run(stream)

    def _finish(self, done: Future[None], stream: Stream) -> None:
        self._unfinished.discard(stream)
        stream.end(EngineError("The engine was closed.") if done.cancelled() else done.exception())

    def _check(self, ids: Sequence[int], max_tokens: int | None) -> None:
        if not ids:
            raise UsageError("The prompt is empty.", "Give at least one character.")
        whole = max_tokens is None or (type(max_tokens) is int and max_tokens > 0)
        if not whole:
            raise UsageError(f"max_tokens is {max_tokens!r}; it must be a whole number above 0.")
        vocab = self.config.vocab_size
        outside = next((token for token in ids if not 0 <= token < vocab), None)
        if outside is not None:
            raise UsageError(f"Token {outside} is outside this model's vocabulary of {vocab:,}.")
        if len(ids) >= self.context:
            raise ContextExceeded(
                f"The conversation has {len(ids):,} tokens; "
                f"{self.name} was loaded with a context of {self.context:,}.",
                "Shorten it, start a new one, or load the model with a longer context.",
            )


def _strings(stop: str | Sequence[str]) -> tuple[str, ...]:
    """A lone string is one stop string, not one for each of its letters."""
    return (stop,) if isinstance(stop, str) else tuple(stop)


def _load(name: str, context: int | None, budget: int | None) -> Loaded:
    """Runs on the owner thread."""
    directory = Directory.open(resolve(name))
    planned = require(plan_directory(directory, name, context=context, budget=budget))
    tokenizer = Tokenizer.from_directory(directory.path)
    wire_memory()
    declared = ModelConfig.parse(directory.config)
    config, _ = stretched(declared, planned.context, name)
    model, _ = load_model(directory, config)
    return Loaded(
        name=name,
        path=directory.path,
        model=model,
        fused=_fused(model),
        tokenizer=tokenizer,
        config=config,
        eos=eos_token_ids(directory, config, tokenizer),
        sampling=Sampling.from_generation_config(directory.generation_config),
        plan=planned,
        reach=longest_context(declared),
        turns=TurnEncoder(tokenizer),
        description=_describe(directory, config),
    )


def _fused(model: Model) -> FusedModel | None:
    if not available():
        return None
    # Imported only where kernels can run: their texts would take a part of every start elsewhere.
    from ..model.trial import fused_model

    return fused_model(model, kernel_record())


def _describe(directory: Directory, config: ModelConfig) -> str:
    parts = [config.model_type, f"{config.num_hidden_layers} layers"]
    if config.moe is not None:
        chosen, experts = config.moe.num_experts_per_tok, config.moe.num_experts
        parts.append(f"{chosen} of {experts} experts for each token")
    # Other programs' formats stand under quantization_config alone.
    native = "quantization" in directory.config
    quantization = parse_quantization(directory.config) if native else None
    if quantization is not None:
        parts.append(f"{quantization.default.bits}-bit")
    return ", ".join(parts)
