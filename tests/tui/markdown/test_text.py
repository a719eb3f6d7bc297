"""Untrusted text becomes harmless, and lines break where they should."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.markdown.document import Document
from tui.markdown.line import Span
from tui.markdown.plain import PlainText
from tui.markdown.text import clean, wrap, wrap_ranges

HOSTILE = [
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;http://evil\x07link\x1b]8;;\x07",
    "\x1b]52;c;cm0gLXJm\x07",
    "\x1b_apc\x1b\\ \x1bPdcs\x1b\\",
    "\x9b31m \x9d0;title\x9c \x90q\x9c",
    "over\rwritten\x08\x08\x07\x00\x0b\x0c",
    "a\u202ecod\u202c b\u2066c\u2069\u2028d",
    "\ud800 lone \udfff",
]


def dangerous(text: str) -> list[str]:
    bidi = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    return [
        character
        for character in text
        if (unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") and character not in "\n\t")
        or character in bidi
    ]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_reaches_the_terminal_that_acts_on_it(text: str) -> None:
    assert not dangerous(clean(text))
    for source in (text, f"`{text}`", f"```{text}\n{text}\n```", f"| {text} |\n|---|\n| {text} |"):
        lines = [*Document(source, finished=True).lines(40), *PlainText(source).lines(40)]
        shown = "".join(line.text for line in lines)
        assert not dangerous(shown)
        assert "\t" not in shown
        assert "\n" not in shown
        shown.encode()


@given(st.text(), st.integers(1, 5))
def test_cleaning_pieces_equals_cleaning_the_whole(text: str, size: int) -> None:
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    assert "".join(map(clean, pieces)) == clean(text)
    assert not dangerous(clean(text))
    assert clean(clean(text)) == clean(text)


def test_entities_cannot_bring_controls_back() -> None:
    for entity in ("&#27;", "&#x9b;", "&#x202e;", "&#7;", "&#13;", "&#10;", "&#9;", "&#x2028;"):
        for form in (
            "{}[31m",
            "[a](http://x/{} {})",
            "![{}](x)",
            "[{}](y)",
            "```a{}b\nx\n```",
            "`{}`",
        ):
            source = form.replace("{}", entity)
            for line in Document(source, finished=True).lines(60):
                assert not dangerous(line.text), source
                assert not set("\n\t") & set(line.text), source


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("hello world this is", 7, ["hello", "world", "this is"]),
        ("今日は「天気」がいい、ですね。", 10, ["今日は「天", "気」がい", "い、です", "ね。"]),
        ("abcdefghij kl", 4, ["abcd", "efgh", "ij", "kl"]),
        ("ab 👩\u200d👩\u200d👧 cd", 5, ["ab 👩\u200d👩\u200d👧", "cd"]),
        ("  indent kept", 8, ["  indent", "kept"]),
        ("a   b", 80, ["a   b"]),
        ("", 5, [""]),
        ("日本", 1, ["日", "本"]),
        ("קצר שלום", 5, ["קצר", "שלום"]),
    ],
)
def test_wrapping(text: str, width: int, lines: list[str]) -> None:
    assert [text[start:end] for start, end, _ in wrap_ranges(text, width)] == lines


ALPHABET = st.sampled_from([*"ab ,.(日。「」 ", "👩\u200d👩\u200d👧", "e\u0301", "ש"])


@settings(max_examples=300, deadline=None)
@given(st.lists(ALPHABET, max_size=60).map("".join), st.integers(2, 20))
def test_wrapped_lines_fit_and_lose_only_white_space(text: str, width: int) -> None:
    ranges = wrap_ranges(text, width)
    for start, end, _ in ranges:
        assert cell_len(text[start:end]) <= width
    rejoined = "".join(text[start:end] + join for start, end, join in ranges).rstrip("\n")
    assert rejoined.split() == text.split()
    starts = [start for start, _, _ in ranges]
    assert starts == sorted(starts)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.text("ab \n日", max_size=9), st.sampled_from(["", "em"]))),
    st.integers(2, 9),
)
def test_wrapped_spans_keep_their_text_and_style(parts: list[tuple[str, str]], width: int) -> None:
    spans = [Span(*part) for part in parts]
    styled = [(c, span.style) for span in spans for c in span.text if not c.isspace()]
    wrapped = [span for line, _ in wrap(spans, width) for span in line]
    assert [(c, span.style) for span in wrapped for c in span.text if not c.isspace()] == styled


def test_plain_text_grows_like_one_given_whole() -> None:
    text = "first line that is long enough to wrap\n\n\tsecond\nthird without end"
    grown = PlainText()
    for start in range(0, len(text), 5):
        grown.append(text[start : start + 5])
        grown.lines(12)
    whole = PlainText(text)
    assert [line.spans for line in grown.lines(12)] == [line.spans for line in whole.lines(12)]
    assert [line.text for line in grown.tail(12, 2)] == ["third", "without end"]
