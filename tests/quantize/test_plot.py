"""The picture of an evaluation is valid SVG, shows its figures, and no name can break out of it."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mlxqwen.errors import OutputError
from quantize.divergence import Divergence, Mean, histogram, quantile
from quantize.evaluate import Evaluation
from quantize.lockstep import Part
from quantize.plot import plot, save_plot
from quantize.svg import clean, power_of_ten, ticks

SVG = "{http://www.w3.org/2000/svg}"


def evaluation(
    layers: int = 6, tied: bool = False, model: str = "/models/small-4bit"
) -> Evaluation:
    kl = sorted(0.01 * 1.02 ** (n % 300) for n in range(500))
    divergence = Divergence(
        tokens=500,
        kl=Mean(sum(kl) / 500, 0.001),
        kl_median=quantile(kl, 0.5),
        kl_p90=quantile(kl, 0.9),
        kl_p99=quantile(kl, 0.99),
        kl_max=kl[-1],
        top1=Mean(0.9123, 0.004),
        source_perplexity=Mean(12.02, 0.5),
        perplexity=Mean(12.34, 0.5),
        perplexity_ratio=Mean(1.027, 0.002),
        histogram=histogram(kl),
    )
    parts = [Part("embedding", 8.5, 16, 1000, 0.004, 0.9999)]
    parts += [Part(str(n), 4.5 + n / 8, 16, 2000, 0.03 + n / 1000, 0.999) for n in range(layers)]
    if not tied:
        parts.append(Part("head", 8.5, 16, 1000, math.nan, math.nan))
    return Evaluation(
        model=model,
        against="/models/small",
        text="the built-in held-out text",
        sequences=4,
        length=126,
        divergence=divergence,
        parts=tuple(parts),
        bits=4.71,
        source_bits=16.0,
        nbytes=4_000,
        source_nbytes=16_000,
        seconds=1.0,
    )


def parse(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text.encode())


def words(root: ElementTree.Element) -> str:
    return "\n".join(root.itertext())


@pytest.mark.parametrize("layers", [1, 6, 28, 48, 94])
@pytest.mark.parametrize("tied", [False, True])
def test_every_part_is_shown_inside_the_picture(layers: int, tied: bool) -> None:
    root = parse(plot(evaluation(layers, tied)))
    width, height = (float(v) for v in root.attrib["viewBox"].split()[2:])
    dots = root.findall(f"{SVG}circle")
    assert len(dots) == layers + 1
    bars = [r for r in root.findall(f"{SVG}rect") if r.attrib["class"] in ("b", "b2")]
    assert len(bars) == layers + 1 + (not tied)
    for element in root.iter():
        for x in ("x", "cx", "x1", "x2"):
            assert 0 <= float(element.attrib.get(x, 1)) <= width
        for y in ("y", "cy", "y1", "y2"):
            assert 0 <= float(element.attrib.get(y, 1)) <= height
    for path in root.findall(f"{SVG}path"):
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", path.attrib["d"])]
        assert len(numbers) >= 4
        assert all(0 <= n <= max(width, height) for n in numbers)


def test_figures_titles_and_axes() -> None:
    text = plot(evaluation())
    root = parse(text)
    shown = words(root)
    for figure in ("91.2 %", "4.71", "12.3", "8.50", "small-4bit", "layer", "KL in nats"):
        assert figure in shown
    assert "layer 3: error 3.30 %, cosine 0.99900" in shown
    assert root.find(f"{SVG}title") is not None
    assert evaluation().verdict in shown
    assert "prefers-color-scheme:dark" in text


def test_bars_are_as_high_as_their_figures() -> None:
    root = parse(plot(evaluation()))
    bars = [r for r in root.findall(f"{SVG}rect") if r.attrib["class"] in ("b", "b2")]
    heights = [float(bar.attrib["height"]) for bar in bars]
    bits = [part.bits for part in evaluation().parts]
    assert [h / heights[0] for h in heights] == pytest.approx([b / bits[0] for b in bits], rel=0.01)


def test_hostile_names_stay_text() -> None:
    name = "x\"><script>alert(1)</x><a href='j'>&\x1b[31m\x00\u202e\udcff" + "y" * 300
    hostile = replace(evaluation(), model=name, against=f"/m/{name[:40]}", text=name[:90])
    text = plot(hostile)
    root = parse(text)
    assert root.find(f".//{SVG}script") is None
    assert root.find(f".//{SVG}a") is None
    assert "<script" not in text
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e\ud800-\udfff]", text)
    assert "<a href='j'>&\ufffd[31m\ufffd\ufffd\ufffdyyy" in words(root)


def test_a_model_equal_to_its_source_can_be_drawn() -> None:
    same = evaluation()
    zero = Mean(0.0, math.nan)
    divergence = replace(
        same.divergence,
        kl=zero,
        kl_median=0.0,
        kl_p90=0.0,
        kl_p99=0.0,
        kl_max=0.0,
        histogram=histogram([0.0] * 500),
    )
    parts = tuple(replace(part, error=0.0) for part in same.parts)
    root = parse(plot(replace(same, divergence=divergence, parts=parts)))
    assert len(root.findall(f"{SVG}circle")) == 8


def test_written_over_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "plot.svg"
    path.write_text("before")
    save_plot(evaluation(), path)
    assert path.read_text(encoding="utf-8") == plot(evaluation())
    with pytest.raises(OutputError, match="cannot be written"):
        save_plot(evaluation(), tmp_path / "absent" / "plot.svg")


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        (1.0, [0, 0.25, 0.5, 0.75, 1]),
        (17, [0, 5, 10, 15, 20]),
        (0.0, [0, 1]),
        (8.5, [0, 2.5, 5, 7.5, 10]),
    ],
)
def test_axes_end_at_round_numbers(top: float, expected: list[float]) -> None:
    assert ticks(top) == pytest.approx(expected)


def test_words_for_powers() -> None:
    assert [power_of_ten(n) for n in (-12, -3, -2, 0, 1)] == ["10⁻¹²", "10⁻³", "0.01", "1", "10"]
    assert clean("a" * 300, 21) == "a" * 10 + "…" + "a" * 10
