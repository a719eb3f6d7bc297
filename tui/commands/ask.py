"""``mlxqwen ask``: one answer on standard output, for people and for pipes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from mlxqwen.errors import MlxqwenError, UsageError

from .failures import INTERRUPTED, leave
from .output import dump_json, tell

if TYPE_CHECKING:
    from mlxqwen.engine.events import Done, Event, Prefill

_DIM, _PLAIN, _ERASE_LINE = "\x1b[2m", "\x1b[0m", "\r\x1b[K"
_DEMONSTRATION = (
    "No other model is here, so guide answers: "
    "a tiny demonstration model that knows next to nothing."
)
_LONG_PREFILL = 512  # tokens in a prompt that takes long enough for its progress to be shown


def ask(
    prompt: Annotated[
        list[str] | None,
        typer.Argument(help="What to ask. Text on standard input is added after it."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="A folder, a name from `mlxqwen models`, or an alias."),
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", "-s", help="How the model should behave.")
    ] = None,
    think: Annotated[
        bool | None,
        typer.Option("--think/--no-think", help="Think before answering, or do not."),
    ] = None,
    think_budget: Annotated[
        int | None, typer.Option(min=0, help="Think for at most about that many tokens.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, help="Randomness; 0 always takes the likeliest token.")
    ] = None,
    top_p: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Share of probability to draw from.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(min=0, help="Number of tokens to draw from.")] = None,
    min_p: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Least probability, relative to the likeliest."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Draw the same answer again.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", "-n", min=1, help="Stop after that many tokens.")
    ] = None,
    context: Annotated[
        int | None, typer.Option(min=1, help="Tokens of context to make room for.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every event as one line of JSON.")
    ] = False,
    stats: Annotated[
        bool, typer.Option("--stats", help="Print token counts and speed on standard error.")
    ] = False,
) -> None:
    """Ask once; the answer streams to standard output."""
    if think is False and think_budget:
        raise UsageError("--no-think and --think-budget contradict each other.", "Give one.")
    question = _question(prompt or [])
    messages = [{"role": "user", "content": question}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})

    from mlxqwen import Engine, Sampling

    if model is None:
        from mlxqwen.hub.library import default_model

        chosen = default_model()
        model = chosen.name
        if chosen.source == "builtin" and sys.stderr.isatty():
            print(f"{_DIM}{_DEMONSTRATION}{_PLAIN}", file=sys.stderr)
    sampling = Sampling(temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p, seed=seed)
    with Engine.load(model, context=context) as engine:
        for notice in engine.notices:
            tell(notice)
        thought = think if think_budget is None else think_budget
        run = engine.chat(messages, think=thought, sampling=sampling, max_tokens=max_tokens)
        try:
            done = _print_json(run) if as_json else _Printer.for_terminal().print(run)
        except KeyboardInterrupt:
            leave(INTERRUPTED)
        except BrokenPipeError:
            leave(1)
    if stats and done:
        _print_statistics(done)


def _question(words: list[str]) -> str:
    """The arguments, then what standard input holds if it is no terminal."""
    parts = [" ".join(words)]
    if not sys.stdin.isatty():
        try:
            parts.append(sys.stdin.buffer.read().decode("utf-8"))
        except UnicodeDecodeError as error:
            raise MlxqwenError(
                f"Standard input is not UTF-8 text (byte {error.start} is "
                f"0x{error.object[error.start]:02x}).",
                "Convert it first, for example with iconv -t UTF-8.",
            ) from error
    question = "\n".join(part for part in parts if part.strip())
    if not question:
        raise UsageError(
            "There is nothing to ask.", 'Give a prompt, for example: mlxqwen ask "Hello".'
        )
    return question


def _print_json(events: Iterable[Event]) -> Done | None:
    from mlxqwen.engine.events import Done, to_json

    done = None
    for event in events:
        dump_json(to_json(event))
        if isinstance(event, Done):
            done = event
    return done


@dataclass(slots=True)
class _Printer:
    """Writes an answer as it comes: the text to standard output, thoughts dim to a terminal."""

    clean: Callable[[str], str] | None
    """Makes text harmless to a terminal; None where a pipe takes it as it is."""
    show_thoughts: bool
    _last: str = field(default="\n", init=False)
    _thinking: bool = field(default=False, init=False)
    _progress: bool = field(default=False, init=False)

    @classmethod
    def for_terminal(cls) -> _Printer:
        show_thoughts = sys.stderr.isatty()
        if not (sys.stdout.isatty() or show_thoughts):
            return cls(None, False)
        from tui.markdown.text import clean

        return cls(clean, show_thoughts)

    def print(self, events: Iterable[Event]) -> Done | None:
        from mlxqwen.engine.events import Done, Prefill, Text, Thinking

        done = None
        try:
            for event in events:
                match event:
                    case Prefill():
                        self._prefill(event)
                    case Thinking(text):
                        self._think(text)
                    case Text(text):
                        self._say(text)
                    case Done():
                        done = event
                    case _:
                        pass
        finally:
            self._end_aside()
            if self._last != "\n":
                sys.stdout.write("\n")
            sys.stdout.flush()
        return done

    def _prefill(self, event: Prefill) -> None:
        if self.show_thoughts and event.total >= _LONG_PREFILL:
            text = f"{_ERASE_LINE}{_DIM}reading the prompt: {event.done}/{event.total}{_PLAIN}"
            sys.stderr.write(text)
            sys.stderr.flush()
            self._progress = True

    def _think(self, text: str) -> None:
        if not self.show_thoughts or self.clean is None:
            return
        if not self._thinking:
            self._end_aside()
            sys.stderr.write(_DIM)
            self._thinking = True
        sys.stderr.write(self.clean(text))
        sys.stderr.flush()

    def _say(self, text: str) -> None:
        self._end_aside()
        if self.clean and sys.stdout.isatty():
            text = self.clean(text)
        sys.stdout.write(text)
        sys.stdout.flush()
        self._last = text[-1:] or self._last

    def _end_aside(self) -> None:
        if self._progress:
            sys.stderr.write(_ERASE_LINE)
        if self._thinking:
            sys.stderr.write(f"{_PLAIN}\n\n")
        if self._progress or self._thinking:
            sys.stderr.flush()
        self._progress = self._thinking = False


def _print_statistics(done: Done) -> None:
    usage, timings = done.usage, done.timings
    cached = f" ({usage.cached_tokens} cached)" if usage.cached_tokens else ""
    thought = f" ({usage.thinking_tokens} thinking)" if usage.thinking_tokens else ""
    print(
        f"prompt {usage.prompt_tokens} tokens{cached} · answer {usage.completion_tokens} tokens"
        f"{thought} · {timings.decode_rate(usage.completion_tokens):.1f} tok/s · "
        f"first token {timings.first_token:.2f} s · total {timings.total:.2f} s",
        file=sys.stderr,
    )
