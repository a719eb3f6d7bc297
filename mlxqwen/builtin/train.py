"""Trains the built-in model: ``python -m mlxqwen.builtin.train --output FOLDER``.

Everything starts from the texts beside this file: the tokenizer is trained on them, then the model,
and FOLDER becomes an ordinary Hugging Face checkpoint in bfloat16, which
``mlxqwen quantize FOLDER -o mlxqwen/builtin/guide`` turns into the model that ships. What a run
computes depends on its options alone; a stopped run goes on where it was when repeated.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import cast

import mlx.core as mx
from tokenizers import Tokenizer

from ..generate.decode import generate_tokens
from ..model.config import ModelConfig
from ..model.decoder import Model
from ..model.params import Params
from .batches import Batches, Row
from .corpus import Dialogue
from .export import hf_config, initial_parameters, load_state, save_state, write_checkpoint
from .objective import as_stored, loss
from .optimizer import AdamW, Schedule
from .vocabulary import END_OF_TEXT, TURN_END, token_id, train_tokenizer, write_tokenizer

_QUESTIONS = (
    "Hello!",
    "Ciao, come stai?",
    "who are you",
    "How do I quantise a checkpoint?",
    "Perché il cielo è blu?",
    "What is the best wine with fish?",
    "Chi ha vinto i mondiali del 1982?",
)
_BALANCE = 0.02  # weight of the balance term: enough to keep every expert busy, too little to steer


def parser() -> argparse.ArgumentParser:
    """The options of the program."""
    options = argparse.ArgumentParser(
        prog="python -m mlxqwen.builtin.train",
        description=(
            "Train the tiny Qwen3-MoE that ships with mlxqwen, from the texts in this package. "
            "The result is a bfloat16 Hugging Face checkpoint; quantise it afterwards with "
            "`mlxqwen quantize OUTPUT -o mlxqwen/builtin/guide`."
        ),
        epilog=(
            "On Linux MLX's matrix products run several times faster on OpenBLAS: put its "
            "libopenblas.so.0 into LD_PRELOAD. Stopping is safe: the same command resumes."
        ),
    )
    add = options.add_argument
    add("--output", type=Path, required=True, help="folder for the checkpoint and the run's state")
    add("--steps", type=int, default=4400, help="optimiser steps (default: %(default)s)")
    add("--rows", type=int, default=16, help="rows per step (default: %(default)s)")
    add("--length", type=int, default=128, help="tokens per row (default: %(default)s)")
    add(
        "--long-from",
        type=float,
        default=0.9,
        metavar="SHARE",
        help="after this share of the steps rows are 4 times as long and as few (%(default)s)",
    )
    add(
        "--round-from",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="after this share of the steps the loss sees 4-bit weights (default: %(default)s)",
    )
    add("--rate", type=float, default=3e-3, help="peak learning rate (default: %(default)s)")
    add("--warmup", type=int, default=100, help="steps up to the peak (default: %(default)s)")
    add("--chat-share", type=float, default=0.85, help="rows of dialogues, the rest being prose")
    add("--seed", type=int, default=0, help="of weights and batches (default: %(default)s)")
    add("--save-every", type=int, default=200, metavar="STEPS", help="save the state so often")
    add(
        "--show-every", type=int, default=400, metavar="STEPS", help="print sample answers so often"
    )
    return options


class Training:
    """One run: parameters, optimiser and data, advanced step by step."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.output: Path = args.output
        self.output.mkdir(parents=True, exist_ok=True)
        self.raw_config = hf_config()
        context: int = self.raw_config["max_position_embeddings"]
        self.tokenizer = self._tokenizer()
        write_tokenizer(self.tokenizer, self.output, context)
        self.raw_config["eos_token_id"] = token_id(self.tokenizer, TURN_END)
        self.raw_config["bos_token_id"] = token_id(self.tokenizer, END_OF_TEXT)
        self.config = ModelConfig.parse(self.raw_config)
        self.batches = Batches(self.tokenizer, args.seed, args.chat_share)
        self.parameters = initial_parameters(self.config, args.seed)
        self.schedule = Schedule(args.rate, args.warmup, args.steps)
        self.optimizer = AdamW(self.parameters)

    def _tokenizer(self) -> Tokenizer:
        """The resumed run's own, even if the texts have changed since; otherwise a new one."""
        if self.state_file.is_file():
            return Tokenizer.from_file(str(self.output / "tokenizer.json"))
        return train_tokenizer(self.raw_config["vocab_size"], self.args.seed)

    @property
    def step(self) -> int:
        """Steps made so far."""
        return self.optimizer.step

    @property
    def state_file(self) -> Path:
        """Where the run keeps what it needs to go on."""
        return self.output / "training.safetensors"

    def resume(self) -> None:
        """Goes back to the saved state, if there is one."""
        if self.state_file.is_file():
            load_state(self.state_file, self.parameters, self.optimizer)

    def save(self) -> None:
        """Writes the state and the checkpoint, each replaced only when complete."""
        save_state(self.state_file, self.parameters, self.optimizer)
        write_checkpoint(self.output, self.raw_config, self.parameters)

    def advance(self, drawn: Sequence[Row], rounding: bool) -> tuple[float, float]:
        """One optimiser step on ``drawn``; returns its text loss and its balance."""
        tokens = mx.array([row.tokens for row in drawn])
        counts = list(chain.from_iterable(row.counts for row in drawn))
        # Very short rows can hold nothing but prompts: then those count, so that a step is a step.
        chosen = [at for at, counts_here in enumerate(counts) if counts_here] or range(len(counts))
        counted = mx.array(list(chosen))

        def objective(parameters: dict[str, mx.array]) -> tuple[mx.array, mx.array, mx.array]:
            seen = as_stored(parameters) if rounding else parameters
            parts = loss(self.config, seen, tokens, counted)
            return parts.text + _BALANCE * parts.balance, parts.text, parts.balance

        (_, text, balance), gradients = mx.value_and_grad(objective)(self.parameters)
        self.optimizer.update(self.parameters, gradients, self.schedule(self.step))
        return cast(float, text.item()), cast(float, balance.item())

    def run(self) -> None:
        """Trains from ``self.step`` to the end."""
        args = self.args
        rounding_from = int(args.steps * args.round_from)
        long_from = int(args.steps * args.long_from)
        began, mean, since = time.monotonic(), 0.0, self.step
        while self.step < args.steps:
            rows, length = args.rows, args.length
            if self.step >= long_from:
                rows, length = max(1, rows // 4), length * 4
            rounding = self.step >= rounding_from
            drawn = self.batches.draw(self.step, rows, length)
            text, balance = self.advance(drawn, rounding)
            mean = text if mean == 0.0 else 0.95 * mean + 0.05 * text
            if self.step % 20 == 0:
                pace = (time.monotonic() - began) / (self.step - since)
                _say(
                    f"step {self.step}/{args.steps}  loss {mean:.3f}  balance {balance:.3f}"
                    f"  {pace:.2f} s/step  {rows * length / pace:.0f} tok/s"
                    f"  {pace * (args.steps - self.step) / 60:.0f} min left"
                )
            if self.step % args.save_every == 0 or self.step == args.steps:
                self.save()
            if self.step % args.show_every == 0 or self.step == args.steps:
                self.show()

    def show(self) -> None:
        """Prints greedy answers of the model as it would be stored."""
        model = Model.build(self.config, Params(as_stored(self.parameters)))
        end = token_id(self.tokenizer, TURN_END)
        for index, question in enumerate(_QUESTIONS):
            asked = {"role": "user", "content": question}
            thought = "" if index % 2 else None
            blank = Dialogue((asked, {"role": "assistant", "content": ""}), thought)
            prompt, _ = self.batches.encode_dialogue(blank)
            ids = list(generate_tokens(model, prompt, max_tokens=120, eos_token_ids=(end,)))
            _say(f"  {question}  ->  {self.tokenizer.decode(ids, skip_special_tokens=False)!r}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(argv: list[str] | None = None) -> int:
    """Runs the program; Ctrl-C ends it with 130 and the last saved state in place."""
    training = Training(parser().parse_args(argv))
    training.resume()
    try:
        training.run()
    except KeyboardInterrupt:
        _say("Stopped. Repeat the command to go on from the last saved state.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
