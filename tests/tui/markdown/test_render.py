"""What each kind of Markdown looks like."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tui.markdown.document import Document
from tui.markdown.line import STYLES
from tui.markdown.table import column_widths


def shown(text: str, width: int = 40) -> list[str]:
    return [line.text.rstrip() for line in Document(text, finished=True).lines(width)]


def styles(text: str, word: str) -> set[str]:
    return {
        name
        for line in Document(text, finished=True).lines(60)
        for span in line.spans
        if word in span.text
        for name in span.style.split()
    }


@pytest.mark.parametrize(
    ("text", "word", "style"),
    [
        ("# Big", "Big", "heading"),
        ("### Small", "Small", "heading-minor"),
        ("**b**", "b", "strong"),
        ("*i*", "i", "em"),
        ("~~s~~", "s", "strike"),
        ("`c`", "c", "inline-code"),
        ("[l](http://x)", "l", "link"),
        ("> **q**", "q", "quote"),
        ("$x_1$", "x", "math"),
        ("<i>", "<i>", "html"),
        ("| h |\n|--|", "h", "table-head"),
        ("```python\nimport os\n```", "import", "syn-keyword"),
    ],
)
def test_styles(text: str, word: str, style: str) -> None:
    assert style in styles(text, word)
    assert styles(text, word) <= set(STYLES)


def test_styles_nest() -> None:
    assert styles("**a *b***", "b") == {"strong", "em"}


def test_lists() -> None:
    text = "1. one\n   - a\n     - deep\n   - b\n9. two\n\n- [ ] open\n- [x] done\n"
    assert shown(text) == [
        "1. one",
        "   ◦ a",
        "     ▪ deep",
        "   ◦ b",
        "2. two",
        "",
        "☐ open",
        "☑ done",
    ]


def test_loose_lists_breathe_and_long_items_hang() -> None:
    assert shown("- a\n\n- b") == ["• a", "", "• b"]
    assert shown("10. word word word", 10) == ["10. word", "    word", "    word"]


def test_quotes_and_rules() -> None:
    assert shown("> a\n>\n> - b\n\n---", 8) == ["▎ a", "▎", "▎ • b", "", "────────"]


def test_links_show_where_they_lead_and_images_their_text() -> None:
    assert shown("[a](http://x/y) <http://z> ![pic *1*](u)", 60) == [
        "a (http://x/y) http://z [image: pic *1*]"
    ]


def test_line_breaks_stay() -> None:
    assert shown("a\nb  \nc<br>d") == ["a", "b", "c", "d"]


def test_markup_of_the_interface_is_only_text() -> None:
    text = "[red]x[/] [@click=app.quit]y[/] [bold]z[/bold] \\[b]"
    assert "[red]x[/] [@click=app.quit]y[/] [bold]z[/bold]" in shown(text, 80)[0]


def test_html_is_literal() -> None:
    assert shown("<div onclick='x'>\n*a*\n</div>") == ["<div onclick='x'>", "*a*", "</div>"]


def test_mathematics_is_left_as_written() -> None:
    assert shown("$a_1*b*c$ \\(x_i\\) costs $5 and $10", 60) == [
        "$a_1*b*c$ \\(x_i\\) costs $5 and $10"
    ]
    assert shown("$$\n- a \\\\\n= b\n$$\nafter") == ["$$", "- a \\\\", "= b", "$$", "", "after"]
    assert shown("\\[\nx_1 * y_1\n\\]") == ["\\[", "x_1 * y_1", "\\]"]


def test_a_stray_opener_ends_at_the_blank_line() -> None:
    assert shown("$$ is a *pid*\n\n**b**") == ["$$ is a *pid*", "", "b"]


def test_code_has_a_frame_a_language_and_a_number() -> None:
    assert shown("```py\na\tb\n```\n\n    c\n", 30) == [
        "╭─ py ───────────── [1] copy ─",
        "│ a   b",
        "╰─────────────────────────────",
        "",
        "╭────────────────── [2] copy ─",
        "│ c",
        "╰─────────────────────────────",
    ]


def test_long_code_is_cut_and_copied_whole() -> None:
    document = Document("```\n" + "x = 1  " * 9 + "\n日本語日本語日本語\n```", finished=True)
    lines = document.lines(16)
    assert all(line.cells <= 16 for line in lines)
    copied = "".join(line.content + line.join for line in lines)
    assert copied == "x = 1  " * 9 + "\n日本語日本語日本語\n"
    assert document.code_blocks == ["x = 1  " * 9 + "\n日本語日本語日本語"]


def test_code_is_plain_until_its_fence_closes() -> None:
    document = Document()
    document.append("```python\nimport os\n")
    assert not any("syn" in s.style for line in document.lines(40) for s in line.spans)
    document.append("```\n")
    assert any("syn" in s.style for line in document.lines(40) for s in line.spans)


def test_unknown_languages_and_hostile_labels_are_plain_text() -> None:
    assert "[red]" in shown("```[red]\nx\n```")[0]
    assert styles("```nolanguage\nxyz\n```", "xyz") == {"code"}


def test_tables_fit_align_and_wrap() -> None:
    text = "| a | bb | c |\n|:--|--:|:-:|\n| 1 | 2 | 3 |\n| 日本 | long words here | x |\n"
    assert shown(text, 60) == [
        "a    │              bb │ c",
        "─────┼─────────────────┼──",
        "1    │               2 │ 3",
        "日本 │ long words here │ x",
    ]
    assert shown(text, 20) == [
        "a    │        bb │ c",
        "─────┼───────────┼──",
        "1    │         2 │ 3",
        "─────┼───────────┼──",
        "日本 │      long │ x",
        "     │     words │",
        "     │      here │",
    ]


def test_a_table_too_narrow_becomes_records() -> None:
    text = "| a | b | c |\n|---|---|---|\n| 11111 | 22222 | 33333 |\n| 4 | 5 | 6 |\n"
    assert shown(text, 12) == ["a: 11111", "b: 22222", "c: 33333", "", "a: 4", "b: 5", "c: 6"]


def test_breaks_inside_cells() -> None:
    assert shown("| a |\n|---|\n| x<br>y |") == ["a", "─", "x", "y"]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(1, 120))
def test_columns_never_exceed_the_room(natural: list[int], room: int) -> None:
    widths = column_widths(natural, room)
    if widths is None:
        assert sum(natural) > room
    else:
        assert sum(widths) <= room or sum(natural) <= room
        assert all(width <= wanted for width, wanted in zip(widths, natural, strict=True))
        if sum(natural) <= room:
            assert widths == natural


def test_no_line_is_wider_than_the_view(tricky: str) -> None:
    for width in (24, 40, 80):
        for line in Document(tricky, finished=True).lines(width):
            assert line.cells <= width, line.text


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_any_text_renders(text: str) -> None:
    assert all(line.cells <= 30 for line in Document(text, finished=True).lines(30))


def test_unchanged_lines_stay_the_same_objects() -> None:
    document = Document()
    document.append("- one\n- two\n")
    first = list(document.lines(40))
    document.append("- three")
    assert document.lines(40)[0] is first[0]
    assert document.lines(40)[2].text == "• three"


def test_a_new_width_renders_everything_anew() -> None:
    text = "word " * 20 + "\n\nsecond [r]\n\n[r]: /u\n"
    document = Document(text)
    document.lines(80)
    assert [line.text for line in document.lines(20)] == [
        line.text for line in Document(text).lines(20)
    ]


def test_paragraphs_are_copied_without_the_renderer_s_line_breaks() -> None:
    lines = Document("> one two three four\n> five", finished=True).lines(12)
    assert "".join(line.content + line.join for line in lines) == "one two three four\nfive\n"
