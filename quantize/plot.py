"""An evaluation as a picture: error and bits of each layer, and how KL is spread over tokens.

SVG of our own writing, for light and dark pages alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlxqwen.errors import OutputError

from .evaluate import Evaluation, number, percent
from .lockstep import Part
from .svg import Drawing, power_of_ten, ticks

WIDTH, HEIGHT = 960, 1050
_LEFT, _RIGHT = 76, 928

_STYLE = """
text{font-family:system-ui,-apple-system,"Segoe UI","Helvetica Neue",Arial,sans-serif;fill:#1b2331}
.h1{font-size:22px;font-weight:650}.h2{font-size:15px;font-weight:600}
.big{font-size:25px;font-weight:650}.s{font-size:12.5px}.s,.t,.u{fill:#5f6b7c}
.t{font-size:11.5px}.u{font-size:12px}.v{font-size:10.5px;font-weight:600}
.m{font-size:11.5px;font-weight:600}
.paper{fill:#fff}.card{fill:#f4f6fa}
.g{stroke:#e5e9f0;stroke-width:1}.a{stroke:#aab4c3;stroke-width:1}
.mark{stroke:#1b2331;stroke-width:1.2;stroke-dasharray:4 3;opacity:.75}
.l{fill:none;stroke:#2f6bdf;stroke-width:2.4;stroke-linejoin:round}.d{fill:#2f6bdf}
.f{fill:#2f6bdf;opacity:.12}.b{fill:#0f9d8a}.b2{fill:#7bc9be}.k{fill:#8459cf}
@media (prefers-color-scheme:dark){
text{fill:#e9edf4}.s,.t,.u{fill:#9aa6b8}.paper{fill:#11151c}.card{fill:#1a202a}
.g{stroke:#252d39}.a{stroke:#566174}.mark{stroke:#e9edf4}
.l{stroke:#6ea1ff}.d{fill:#6ea1ff}.f{fill:#6ea1ff}.b{fill:#35c2ae}.b2{fill:#1f6f66}.k{fill:#b08cf0}
}
"""


def plot(evaluation: Evaluation) -> str:
    """The SVG document."""
    drawing = Drawing()
    drawing.elements.append(f'<rect width="{WIDTH}" height="{HEIGHT}" rx="14" class="paper"/>')
    _header(drawing, evaluation)
    _errors(drawing, evaluation.parts, _Frame(290, 440))
    _bits(drawing, evaluation, _Frame(562, 692))
    _spread(drawing, evaluation, _Frame(814, 974))
    name = Path(evaluation.model).name or evaluation.model
    return drawing.document(WIDTH, HEIGHT, f"{name} beside its source", evaluation.verdict, _STYLE)


def save_plot(evaluation: Evaluation, path: Path) -> None:
    """Writes the SVG to ``path``, over what was there.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        path.write_text(plot(evaluation), encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror}.",
            "Check the folder and its permissions, or choose another file.",
        ) from error


@dataclass(frozen=True, slots=True)
class _Frame:
    """The rectangle between the axes; y grows downwards."""

    top: float
    bottom: float

    def height(self, share: float) -> float:
        return self.bottom - (self.bottom - self.top) * share

    def axis(
        self, drawing: Drawing, values: Sequence[float], label: Callable[[float], str]
    ) -> None:
        """Horizontal lines at ``values``, the last of which is the top."""
        for value in values:
            y = self.height(value / values[-1])
            drawing.line(_LEFT, y, _RIGHT, y, "a" if value == 0 else "g")
            drawing.text(_LEFT - 10, y + 4, label(value), "t", "end")

    def titled(self, drawing: Drawing, title: str, unit: str) -> None:
        drawing.text(_LEFT - 44, self.top - 42, title, "h2")
        drawing.text(_LEFT - 44, self.top - 22, unit, "u")


def _header(drawing: Drawing, evaluation: Evaluation) -> None:
    d = evaluation.divergence
    drawing.text(32, 50, Path(evaluation.model).name or evaluation.model, "h1", limit=64)
    source = Path(evaluation.against).name or evaluation.against
    about = f"beside {_short(source)} · {d.tokens:,} tokens of {_short(Path(evaluation.text).name)}"
    drawing.text(32, 74, about, "s", limit=150)
    figures = (
        (number(d.kl.value), "nats of KL per token", f"99 % below {number(d.kl_p99)}"),
        (percent(d.top1.value), "same first choice", "of the next token"),
        (
            number(d.perplexity.value),
            "perplexity",
            f"source {number(d.source_perplexity.value)}",
        ),
        (
            f"{evaluation.bits:.2f}",
            "bits per weight",
            f"{percent(evaluation.nbytes / evaluation.source_nbytes, 0)} of the source’s bytes",
        ),
    )
    width, gap = 215, 12
    for index, (value, what, note) in enumerate(figures):
        x = 32 + index * (width + gap)
        drawing.elements.append(
            f'<rect x="{x}" y="98" width="{width}" height="98" rx="10" class="card"/>'
        )
        drawing.text(x + 18, 134, value, "big")
        drawing.text(x + 18, 157, what, "s")
        drawing.text(x + 18, 178, note, "t")


def _columns(parts: Sequence[Part]) -> tuple[float, Callable[[int], float]]:
    """Width of a part's column, and the middle of each."""
    width = (_RIGHT - _LEFT) / len(parts)
    return width, lambda index: _LEFT + width * (index + 0.5)


def _names(drawing: Drawing, parts: Sequence[Part], frame: _Frame) -> None:
    """Below the axis: as many layer numbers as there is room for."""
    width, middle = _columns(parts)
    every = next(n for n in (1, 2, 4, 5, 8, 10, 20, 50, 100, 1000) if width * n >= 26)
    for index, part in enumerate(parts):
        if part.name.isdecimal():
            if int(part.name) % every == 0 and not _crowded(parts, index, width):
                drawing.text(middle(index), frame.bottom + 18, part.name, "t", "middle")
        else:
            drawing.text(middle(index), frame.bottom + 18, part.name, "t", "middle")
    drawing.text((_LEFT + _RIGHT) / 2, frame.bottom + 38, "layer", "u", "middle")


def _crowded(parts: Sequence[Part], index: int, width: float) -> bool:
    """Whether a word at either end, some 60 units wide, reaches this column."""
    words = [n for n, part in enumerate(parts) if not part.name.isdecimal()]
    return any(abs(n - index) * width < 46 for n in words)


def _errors(drawing: Drawing, parts: Sequence[Part], frame: _Frame) -> None:
    frame.titled(
        drawing,
        "How far the hidden states have moved",
        "relative error behind each layer, all layers before it included, in %",
    )
    known = [(index, part) for index, part in enumerate(parts) if not math.isnan(part.error)]
    scale = ticks(100 * max(part.error for _, part in known))
    frame.axis(drawing, scale, lambda value: f"{value:g} %")
    width, middle = _columns(parts)
    line = [(middle(n), frame.height(100 * part.error / scale[-1])) for n, part in known]
    area = [(line[0][0], frame.bottom), *line, (line[-1][0], frame.bottom)]
    drawing.path(area, "f")
    drawing.path(line, "l")
    radius = min(4.0, max(1.5, width / 5))
    for (x, y), (_, part) in zip(line, known, strict=True):
        told = f"{_title(part)}: error {percent(part.error, 2)}, cosine {part.cosine:.5f}"
        drawing.dot(x, y, radius, "d", told)
    _names(drawing, parts, frame)


def _bits(drawing: Drawing, evaluation: Evaluation, frame: _Frame) -> None:
    parts = evaluation.parts
    frame.titled(
        drawing,
        "What each layer is stored in",
        f"bits per weight, scales included; the whole has {evaluation.bits:.2f}, "
        f"the source {evaluation.source_bits:.2f}",
    )
    scale = ticks(max(part.bits for part in parts))
    frame.axis(drawing, scale, lambda value: f"{value:g}")
    width, middle = _columns(parts)
    for index, part in enumerate(parts):
        y = frame.height(part.bits / scale[-1])
        wide = width * 0.72
        told = f"{_title(part)}: {part.bits:.3f} bits per weight, {part.nbytes:,} bytes"
        style = "b" if part.name.isdecimal() else "b2"
        drawing.bar(middle(index) - wide / 2, y, wide, frame.bottom - y, style, told)
        if width >= 34:
            drawing.text(middle(index), y - 5, f"{part.bits:.2f}", "v", "middle")
    _names(drawing, parts, frame)


def _spread(drawing: Drawing, evaluation: Evaluation, frame: _Frame) -> None:
    d = evaluation.divergence
    frame.titled(
        drawing,
        "How KL is spread over the tokens",
        "share of tokens in % by their KL in nats, on a logarithmic scale",
    )
    edges, counts = d.histogram.edges, d.histogram.counts
    filled = [index for index, count in enumerate(counts) if count]
    logs = [math.log10(edge) for edge in edges]
    # Whole decades around what there is.
    low = math.floor(logs[filled[0]] + 1e-9)
    high = math.ceil(logs[filled[-1] + 1] - 1e-9)
    # A quarter above the highest bar is for the marks' names.
    scale = ticks(125 * max(counts) / d.tokens)
    frame.axis(drawing, scale, lambda value: f"{value:g} %")

    def place(exponent: float) -> float:
        share = (exponent - low) / (high - low)
        return _LEFT + (_RIGHT - _LEFT) * min(max(share, 0), 1)

    for index in range(filled[0], filled[-1] + 1):
        x, right = place(logs[index]), place(logs[index + 1])
        share = counts[index] / d.tokens
        y = frame.height(100 * share / scale[-1])
        span = f"{number(edges[index])} to {number(edges[index + 1])} nats"
        told = f"{span}: {percent(share, 2)} of tokens"
        drawing.bar(x + 1, y, right - x - 2, frame.bottom - y, "k", told)
    for exponent in range(low, high + 1):
        drawing.line(place(exponent), frame.bottom, place(exponent), frame.bottom + 5, "a")
        drawing.text(place(exponent), frame.bottom + 20, power_of_ten(exponent), "t", "middle")
    drawing.text((_LEFT + _RIGHT) / 2, frame.bottom + 42, "KL in nats", "u", "middle")
    marks = (("median", d.kl_median), ("mean", d.kl.value), ("99 %", d.kl_p99))
    for row, (name, value) in enumerate(marks):
        if value <= 0:
            continue
        x, y = place(math.log10(value)), frame.top + 14 + 17 * row
        drawing.line(x, y - 10, x, frame.bottom, "mark")
        right = x > _RIGHT - 130
        drawing.text(
            x - 6 if right else x + 6,
            y,
            f"{name} {number(value)}",
            "m",
            "end" if right else "start",
        )


def _title(part: Part) -> str:
    return f"layer {part.name}" if part.name.isdecimal() else part.name


def _short(text: str, limit: int = 56) -> str:
    half = (limit - 1) // 2
    return text if len(text) <= limit else f"{text[:half]}…{text[-half:]}"
