"""Just enough of SVG for a plot: shapes, axes and text that no name can break out of."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

# Characters that XML forbids, that have no shape, or that turn the text around them.
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp"})


def clean(text: str, limit: int = 200) -> str:
    """``text`` as content or attribute of XML; the middle of what is longer than ``limit`` goes."""
    if len(text) > limit:
        half = (limit - 1) // 2
        text = f"{text[:half]}…{text[-half:]}"
    shown = ("\ufffd" if unicodedata.category(c) in _HIDDEN else c for c in text)
    return escape("".join(shown))


@dataclass(slots=True)
class Drawing:
    """Elements in the order in which they are painted."""

    elements: list[str] = field(default_factory=list[str])

    def text(
        self, x: float, y: float, text: str, style: str, anchor: str = "start", limit: int = 200
    ) -> None:
        """Words with their baseline at ``y``."""
        place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
        self.elements.append(f'<text {place} class="{style}">{clean(text, limit)}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        self.elements.append(f'<line {ends} class="{style}"/>')

    def bar(self, x: float, y: float, width: float, height: float, style: str, title: str) -> None:
        """A rectangle that tells its figure when pointed at."""
        shape = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{max(height, 0):.1f}"'
        radius = min(2.0, width / 3)
        self.elements.append(
            f'<rect {shape} rx="{radius:.1f}" class="{style}"><title>{clean(title)}</title></rect>'
        )

    def dot(self, x: float, y: float, radius: float, style: str, title: str) -> None:
        shape = f'cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"'
        self.elements.append(
            f'<circle {shape} class="{style}"><title>{clean(title)}</title></circle>'
        )

    def path(self, points: Sequence[tuple[float, float]], style: str) -> None:
        """A line through the points; a class that fills closes it."""
        steps = " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self.elements.append(f'<path d="M{steps}" class="{style}"/>')

    def document(self, width: int, height: int, title: str, description: str, css: str) -> str:
        """The file. Title and description are what a screen reader reads."""
        return "\n".join(
            [
                '<?xml version="1.0" encoding="UTF-8"?>',
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
                f'width="{width}" height="{height}" role="img" aria-labelledby="title desc">',
                f'<title id="title">{clean(title)}</title>',
                f'<desc id="desc">{clean(description, 1000)}</desc>',
                f"<style>{css}</style>",
                *self.elements,
                "</svg>",
                "",
            ]
        )


def ticks(top: float, count: int = 4) -> list[float]:
    """Round numbers from 0 to the first at or above ``top``, about ``count`` steps."""
    if not (math.isfinite(top) and top > 0):
        return [0.0, 1.0]
    rough = top / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    return [step * number for number in range(math.ceil(top / step - 1e-9) + 1)]


_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def power_of_ten(exponent: int) -> str:
    """10⁻³, 0.1, 1, 10."""
    if -2 <= exponent <= 1:
        return f"{10.0**exponent:g}"
    return "10" + str(exponent).translate(_SUPERSCRIPT)
