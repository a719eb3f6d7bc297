# ruff: noqa: E501 (a text is one literal, to be read beside its name)
"""Markdown that has tripped renderers before, shared by the tests of this room."""

from __future__ import annotations

import pytest

CORPUS: dict[str, str] = {
    "nested lists": "- a\n  - b\n    1. c\n\n       more c\n  - d\n\n- e\n\ntext\n\n* f\n* g\n\n+ h\n",
    "list then list": "1. a\n2. b\n\n1) c\n\n- d\n\n\n- e\n\n    code in e\n\nend\n",
    "number growing into an item": "1. a\n\n2",
    "dash growing into a rule": "- a\n\n-\n\n---\n\n- b\n",
    "fence in list": "1. x\n   ```py\n   a = 1\n\n   b = 2\n   ```\n2. y\n```\nout\n```\n",
    "fences": "```\na\n\n```\n~~~ py\n```\n~~~\n````\n```\n````\nopen:\n```sh\nrm\n",
    "tables": "a | b\n--|--\n1 | 2\n\ntext\n| x |\n|---|\n| y `|` z |\nnot a pipe\n\n> | q |\n> |---|\n",
    "quotes": "> a\nlazy\n> b\n\n> c\n> ```\n> d\ne\n\n>> f\n> g\n",
    "setext": "a\nb\n===\n\nc\n---\n\nd\n\n---\n\n- e\n---\n",
    "headings": "# a\n## b ##\ntext\n### c\n#no\n####### no\n",
    "html": "<div>\n*a*\n\n*b*\n</div>\n\n<!-- c\n\nd -->\n<pre>\n\nx\n</pre>\n<b>i</b>\n<details><summary>s</summary>\n",
    "indented code": "    a\n\n    b\n\nc\n    d\n\n- e\n\n      f\n\n        g\n",
    "references": "[a] and [b][c]\n\n[a]: /x\n'title\nover lines'\n\n[c]: /y\n[d\ne]: /z\n'open\n\nend'\n",
    "references before text": "[a]: /x\n'tit\n\nle'\n[b]: /y\ntext [b]\n",
    "cjk": "# 量子化\n\n4ビットの**重み**、`コード`。\n\n- 一\n- 二\n\n| 名前 | 値 |\n|:-:|-:|\n| 猫 | 三 |\n",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽\n\n- 🇮🇹 Ciao\n- ❤️\n\n`👨‍💻`\n",
    "rtl": "שלום עולם\n\n- مرحبا بالعالم\n\n> **نص**\n",
    "math": "Energy $E=mc^2$, $a_1*b_2*c$.\n\n$$\n- x\n= y\n\nafter\n\n\\[ a \\\\ b\n\\]\n$$ x $$\n\n$5 and $6\n$$\n",
    "math in list": "- a\n  $$\n  x\n  $$\n- b\n$$\ny\n\nz $$\n",
    "tasks": "- [ ] a\n- [x] b\n  - [X] c\n\n1. [ ] no\n",
    "tabs": "-\ta\n\n\tb\n\n\tc\n\nd\n\te\n",
    "blank": "\n\n  \n\na\n \n\t\nb\n\n\n",
    "odd indents": "1234567. a\n\n    b\n\n  c\n\n 2. d\n\n   e\n",
}


@pytest.fixture(params=CORPUS, ids=lambda name: name.replace(" ", "-"))
def tricky(request: pytest.FixtureRequest) -> str:
    """Each text of the corpus in turn."""
    return CORPUS[request.param]


@pytest.fixture(scope="session")
def corpus() -> dict[str, str]:
    """The whole corpus."""
    return CORPUS
