"""What each recipe costs in quality at its size, beside the curve that `fast` draws.

    python tests/bench/quality.py SOURCE --text held.jsonl [--recipes fast,balanced,best]
        [--bits 3,4,5,6,8] [--groups 32,64,128] [--fit 3MB,4MB] [--calibration cal.jsonl]
        [--tokens 8192] [--length 512] [--json FILE]

SOURCE is a trained checkpoint small enough for memory; FILE is text that neither its training nor
calibration saw. It is quantised under every setting, each result is compared with the source, and
each recipe that is not `fast` with the KL of `fast` at the same bytes: between the nearest smaller
and larger setting on its lower envelope, linear in bytes and in the logarithm of KL.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlxqwen.checkpoint.load import load, load_model
from mlxqwen.errors import MlxqwenError
from mlxqwen.model.decoder import Model
from quantize.divergence import Comparison
from quantize.order import Order, carry_out
from quantize.supply import Folder
from quantize.texts import held_out_text, read_text, token_rows

Point = dict[str, Any]


class Reference:
    """The source's hidden states on the text, computed once for all settings."""

    def __init__(self, source: Path, text: Path | None, tokens: int, length: int) -> None:
        self.model, tokenizer, _ = load(source)
        documents = held_out_text() if text is None else read_text(text)
        self.rows = token_rows(tokenizer, documents, length, tokens)
        self.hidden = hidden_states(self.model, self.rows)

    def compare(self, folder: Path) -> Point:
        """KL of the model in ``folder``."""
        model, _ = load_model(folder)
        comparison = Comparison(self.rows.shape[1] - 1)
        for row, (x, y) in enumerate(
            zip(self.hidden, hidden_states(model, self.rows), strict=True)
        ):
            comparison.add_hidden(
                self.model.logits, model.logits, (x[:-1], y[:-1]), self.rows[row, 1:]
            )
        found = comparison.result()
        return {
            "kl": found.kl.value,
            "kl_error": found.kl.error,
            "kl_p99": found.kl_p99,
            "top1": found.top1.value,
            "perplexity": found.perplexity.value,
            "source_perplexity": found.source_perplexity.value,
        }


def hidden_states(model: Model, rows: mx.array) -> list[mx.array]:
    found: list[mx.array] = []
    for row in range(rows.shape[0]):
        found.append(model.hidden(rows[row : row + 1])[0])
        mx.eval(found[-1])
    return found


def envelope(points: list[Point]) -> list[Point]:
    """Those that no point of as few bytes beats, by bytes."""
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p["bytes"], p["kl"])):
        if not kept or point["kl"] < kept[-1]["kl"]:
            kept.append(point)
    return kept


def at_equal_bytes(curve: list[Point], nbytes: int) -> float | None:
    """KL that the curve has at ``nbytes``; None beyond its ends, where it says nothing."""
    for low, high in itertools.pairwise(curve):
        if low["bytes"] <= nbytes <= high["bytes"]:
            share = (nbytes - low["bytes"]) / (high["bytes"] - low["bytes"])
            a, b = math.log(low["kl"]), math.log(high["kl"])
            return math.exp(a + share * (b - a))
    return None


def settings(arguments: argparse.Namespace) -> list[tuple[str, dict[str, Any]]]:
    """Label and fields of the order, the fast curve first."""
    found: list[tuple[str, dict[str, Any]]] = []
    recipes = arguments.recipes.split(",")
    for name in recipes:
        groups = arguments.groups if name == "fast" else arguments.recipe_groups
        widths = arguments.bits if name == "fast" else arguments.recipe_bits
        for bits in map(int, widths.split(",")):
            for group in map(int, groups.split(",")):
                fields = {"recipe": name, "bits": bits, "group_size": group}
                found.append((f"{name} {bits}-bit g{group}", fields))
    for size in filter(None, arguments.fit.split(",")):
        found.append((f"fit {size}", {"fit": int(size), "context": arguments.context}))
    return found


def measure(label: str, order: Order, source: Path, reference: Reference) -> Point:
    started = time.perf_counter()
    result = carry_out(order, Folder.open(source))
    seconds = time.perf_counter() - started
    point = {"setting": label, "bytes": result.nbytes, "bpw": result.bits_per_weight}
    point |= reference.compare(order.output) | {"quantise_s": seconds}
    shutil.rmtree(order.output)
    return point


def table(points: list[Point]) -> str:
    lines = [
        f"{'setting':24} {'bytes':>12} {'bpw':>6} {'KL mean':>10} {'± ':>9} {'KL p99':>9} "
        f"{'top-1':>7} {'fast there':>11} {'cut':>7}"
    ]
    for p in points:
        there, cut = p.get("fast_kl"), p.get("cut")
        lines.append(
            f"{p['setting']:24} {p['bytes']:12,} {p['bpw']:6.3f} {p['kl']:10.6f} "
            f"{p['kl_error']:9.6f} {p['kl_p99']:9.5f} {p['top1']:7.2%} "
            + (f"{there:11.6f} {cut:7.1%}" if there is not None and cut is not None else "")
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--recipes", default="fast,balanced,best")
    parser.add_argument("--bits", default="3,4,5,6,8", help="of fast")
    parser.add_argument("--groups", default="32,64,128", help="of fast")
    parser.add_argument("--recipe-bits", default="4", help="of the other recipes")
    parser.add_argument("--recipe-groups", default="64", help="of the other recipes")
    parser.add_argument("--fit", default="", help="bytes, several with commas")
    parser.add_argument("--context", type=int, default=128, help="of --fit")
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    reference = Reference(arguments.source, arguments.text, arguments.tokens, arguments.length)
    points: list[Point] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (label, fields) in enumerate(settings(arguments)):
            calibrates = fields.get("recipe") == "best" or "fit" in fields
            calibration = arguments.calibration if calibrates else None
            order = Order(Path(folder) / str(number), calibration=calibration, **fields)
            try:
                points.append(measure(label, order, arguments.source, reference))
            except MlxqwenError as error:
                print(f"{label}: {error}", file=sys.stderr)
                continue
            print(json.dumps(points[-1]), file=sys.stderr, flush=True)
    curve = envelope([p for p in points if p["setting"].startswith("fast ")])
    for point in points:
        if not point["setting"].startswith("fast "):
            there = at_equal_bytes(curve, point["bytes"])
            point["fast_kl"] = there
            point["cut"] = None if there is None else 1 - point["kl"] / there
    print(table(points))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(points, indent=1) + "\n")


if __name__ == "__main__":
    main()
