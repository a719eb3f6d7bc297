"""`safe_cut`: no prefix is frozen that a continuation could still change."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tui.markdown.document import Document
from tui.markdown.parser import parse_blocks
from tui.markdown.split import safe_cut


def blocks(text: str, first_line: int = 0) -> list[tuple[object, ...]]:
    """What the block parser makes of `text`, in a form that can be compared and joined."""
    return [
        (
            token.type,
            token.tag,
            token.nesting,
            token.level,
            token.markup,
            token.info,
            token.content,
            token.hidden,
            sorted(token.attrs.items()),
            [first_line + line for line in token.map] if token.map else None,
        )
        for token in parse_blocks(text)
    ]


def check_every_prefix(text: str) -> None:
    whole = blocks(text)
    for length in range(len(text) + 1):
        cut = safe_cut(text[:length])
        assert 0 <= cut <= length
        head, rest = text[:cut], text[cut:]
        lines = head.count("\n")
        assert blocks(head) + blocks(rest, lines) == whole, (text[:length], head)


def test_no_prefix_of_the_corpus_is_cut_too_early(tricky: str) -> None:
    check_every_prefix(tricky)


def test_no_cut_across_two_texts_of_the_corpus(corpus: dict[str, str]) -> None:
    names = sorted(corpus)
    for first, second in zip(names, names[1:] + names[:1], strict=True):
        check_every_prefix(corpus[first] + corpus[second])


PIECES = st.one_of(
    st.sampled_from(
        ["a", "c d", "日本", "👩\u200d👩\u200d👧", " ", "  ", "    ", "\t", "\n", "\n\n"]
    ),
    st.sampled_from(
        ["- ", "-", "+ ", "* ", "1. ", "2) ", "1", ".", "[ ] ", "- [x] t\n", "> ", ">"]
    ),
    st.sampled_from(["*", "**", "_", "`", "```", "~~~", "# ", "##", "===", "---", "\\", "!"]),
    st.sampled_from(["[a]", "[a]: /u", "'t", "|", "| a | b |", "|---|---|", "|:-:|"]),
    st.sampled_from(
        ["\u0301", "🇮🇹", "👍🏽", "、", "한국어", "  - b\n    - c\n", "   > - d\n", "1. e\n   ```\n"]
    ),
    st.sampled_from(
        [
            "| 量 | 👩\u200d💻 |\n|---|--:|\n",
            "[b][a]",
            '[a]: <u v> "t"\n',
            "````md\n",
            "<pre>\n",
            "<?x",
            "]]>",
        ]
    ),
    st.sampled_from(["$$", "$x$", "\\[", "\\]", "<div>", "</div>", "<!--", "-->", "<b>"]),
)


@settings(max_examples=250, deadline=None)
@given(st.lists(PIECES, max_size=24).map("".join))
def test_no_prefix_of_random_markdown_is_cut_too_early(text: str) -> None:
    check_every_prefix(text)


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=30), st.integers(12, 60))
def test_streamed_equals_one_shot(pieces: list[str], width: int) -> None:
    streamed = Document()
    for piece in pieces:
        streamed.append(piece)
        streamed.lines(width)
    streamed.finish()
    whole = Document("".join(pieces), finished=True)
    assert shape(streamed, width) == shape(whole, width)
    assert streamed.code_blocks == whole.code_blocks


def test_streamed_equals_one_shot_on_the_corpus(corpus: dict[str, str]) -> None:
    text = "\n".join(corpus.values())
    streamed = Document()
    for start in range(0, len(text), 7):
        streamed.append(text[start : start + 7])
        streamed.lines(50)
    streamed.finish()
    assert shape(streamed, 50) == shape(Document(text, finished=True), 50)


def shape(document: Document, width: int) -> list[tuple[object, ...]]:
    return [(line.spans, line.margin, line.join, line.code) for line in document.lines(width)]


def test_finished_blocks_are_cut_off() -> None:
    assert safe_cut("a\n\nb") == 3
    assert safe_cut("# a\nb") == 4
    assert safe_cut("```\na\n```\nb") == 10
    assert safe_cut("- a\n\nb\n") == 5


def test_open_blocks_are_kept() -> None:
    for text in (
        "a\n",
        "- a\n\n",
        "- a\n\nb",
        "```\na\n\n",
        "| a |\n|---|\n",
        "> a\n",
        "    a\n\n",
    ):
        assert safe_cut(text) == 0, text
