"""Markdown as it is read aloud."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui import words
from tui.plain.speaker import Speaker, code_blocks, spoken

CODE = "Look:\n\n```python title=x\nx = 1  # a | b\n\nprint(x)\n```\nDone."
TABLE = "| Name | **Size** |\n|:---|---:|\n| a \\| b | `1` |\n| c |\n\nAfter."


def test_prose_loses_its_marks():
    assert spoken("This is **bold**, *thin* and `code`.") == "This is bold, thin and code.\n"
    assert spoken("[here](https://x.y/z) it is") == "here (https://x.y/z) it is\n"
    assert spoken("## What *for*\n\n\n\ntext") == "Heading 2: What for\n\ntext\n"
    assert spoken("one\n\n---\n\ntwo") == "one\n\ntwo\n"
    assert spoken("2 * 3 * 4 = 24, a_b_c, 🙂 日本語") == "2 * 3 * 4 = 24, a_b_c, 🙂 日本語\n"


def test_lists_stay_lists():
    text = "* one\n+ **two**\n  - nested\n\n1. first. Then.\n10) tenth\n"
    assert spoken(text) == "- one\n- two\n  - nested\n\n1. first. Then.\n10) tenth\n"


def test_code_is_announced_and_numbered():
    assert spoken(CODE) == (
        "Look:\n\nCode block 1, python:\nx = 1  # a | b\n\nprint(x)\nEnd of code block 1.\nDone.\n"
    )
    assert code_blocks(CODE + "\n~~~\ntwo\n~~~") == ["x = 1  # a | b\n\nprint(x)", "two"]


def test_code_in_a_list_loses_the_indentation_of_the_list():
    text = "1. Do:\n   ```sh\n   ls\n     -l\n   ```\n2. Look"
    assert spoken(text) == ("1. Do:\nCode block 1, sh:\nls\n  -l\nEnd of code block 1.\n2. Look\n")


def test_code_that_is_cut_off_is_ended():
    assert spoken("```\nx = 1") == "Code block 1:\nx = 1\nEnd of code block 1.\n"


def test_tables_are_read_row_by_row_with_their_headers():
    assert spoken(TABLE) == (
        "Table with 2 columns: Name, Size.\n"
        "Row 1. Name: a | b; Size: 1.\n"
        "Row 2. Name: c; Size: empty.\n"
        "End of table.\n\nAfter.\n"
    )
    assert spoken("a | b\nis no table") == "a | b\nis no table\n"


def test_quotations_begin_and_end():
    assert spoken("> one\n> two\n\nthree") == ("Quotation:\none\ntwo\nEnd of quotation.\n\nthree\n")
    assert "End of code block 1." in spoken("> ```\n> x\n\nthree")


def test_in_italian():
    words.use("it")
    assert spoken(CODE).splitlines()[2::4] == [
        "Blocco di codice 1, python:",
        "Fine del blocco di codice 1.",
    ]
    assert spoken(TABLE).startswith("Tabella di 2 colonne: Name, Size.\nRiga 1. Name: a | b;")


def test_sentences_come_when_they_are_whole():
    speaker = Speaker()
    assert speaker.feed("The sky is") == ""
    assert speaker.feed(" blue. The") == "The sky is blue. "
    assert speaker.feed(" *sea* is too! And **the") == "The sea is too! "
    assert speaker.feed(" land. It** is brown. ") == ""
    assert speaker.feed("And so on") == "And the land. It is brown. "
    assert speaker.feed("\n- one. Two") == "And so on\n- one. "
    assert speaker.finish() == "Two\n"


def test_a_sentence_without_end_comes_in_parts():
    speaker = Speaker()
    text = "".join(f"word{number} " for number in range(100))
    parts = [speaker.feed(f"word{number} ") for number in range(100)]
    said = "".join(parts)
    assert len(said) > len(text) - 250
    assert 2 <= sum(map(bool, parts)) <= 8
    assert all(part.endswith(" ") for part in parts if part)
    assert said + speaker.finish() == text.rstrip() + "\n"


def test_lines_of_code_come_when_they_are_whole():
    speaker = Speaker()
    assert speaker.feed("```\nfirst = 1. Second") == "Code block 1:\n"
    assert speaker.feed("\n") == "first = 1. Second\n"


HOSTILE = "\x1b]0;title\x07\x1b[31mred\x9b2J\rback\x08\u202eflipped &#27;[0m `\x1b[5m` <b\x1b>\n"


def test_nothing_of_hostile_text_acts_on_a_terminal():
    text = spoken(HOSTILE + "```\x1b[1m\n\x1b[2J\r\n```\n| \x1b[1m |\n|---|\n| \x07 |\n> \x9b1m\n")
    assert not any((ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 for c in text)
    assert "\u202e" not in text
    assert "␛[31mred" in text


PIECES = st.lists(
    st.sampled_from(
        [
            "\n",
            "\n\n",
            "```\n",
            "```py\n",
            "> ",
            "| a | b |\n",
            "|---|---|\n",
            "- ",
            "1. ",
            "# ",
            "**",
            "Some words. ",
            "many words without an end " * 8,
            "and `code` ",
            "x|y ",
            "(a",
            ") ",
            "é。日本",
            "~~~\n",
            "   ",
            "\x1b[1m",
            "---\n",
        ]
    ),
    max_size=30,
)


@given(PIECES, st.integers(1, 9))
def test_streamed_in_any_pieces_it_is_what_it_is_at_once(pieces, size):
    text = "".join(pieces)
    speaker = Speaker()
    parts = [speaker.feed(text[at : at + size]) for at in range(0, len(text), size)]
    assert "".join(parts) + speaker.finish() == spoken(text)
    assert not any(ord(c) < 32 and c != "\n" for c in spoken(text))


@pytest.mark.parametrize("text", ["", "\n\n", "   "])
def test_nothing_is_nothing(text):
    assert spoken(text) == ""
