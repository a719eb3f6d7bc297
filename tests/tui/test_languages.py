"""That everything the interface says is said in every language, and from the tables."""

from __future__ import annotations

import ast
import re
import string
from collections import Counter
from pathlib import Path

import pytest

import tui
from tui.units import age, count, decimal, size
from tui.words import TABLES, plural, say, system_language, use

ROOT = Path(tui.__file__).parent
SOURCES = sorted(
    path
    for path in ROOT.rglob("*.py")
    # The command line speaks English; the tables are what is looked for.
    if not {"words", "commands"} & set(path.relative_to(ROOT).parts)
)
PAIRS = {key: pair for table in TABLES for key, pair in table.items()}
NAMED_ELSEWHERE = re.compile(r"^(action|group|key|unit)\.")
# Settings of a line editor, tags of HTML, and the words for a command that ended without any.
TECHNICAL = ("plain/keyboard.py", "export/markdown.py", "job_process.py")
DATABASE = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|WHERE)\b")
TWO_WORDS = re.compile(r"^[^$#:;=/_{}<>()*`]*\b[A-Za-z’]{2,},? [a-z’]{2,}[^$#;=_{}<>]*$")


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def pattern(node):
    """A regular expression for what an f-string can become, or for a literal."""
    if isinstance(node, ast.Constant):
        return re.escape(node.value) if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        parts = [
            re.escape(part.value) if isinstance(part, ast.Constant) else r".+"
            for part in node.values
        ]
        return "".join(parts)
    return None


def asked():
    """What ``say``, ``plural`` and ``known`` are called with, where that can be read."""
    for path in SOURCES:
        for node in ast.walk(tree(path)):
            if not (isinstance(node, ast.Call) and node.args):
                continue
            function = node.func
            name = function.id if isinstance(function, ast.Name) else ""
            if name not in ("say", "plural"):
                continue
            options = [node.args[0]]
            if isinstance(options[0], ast.IfExp):
                options = [options[0].body, options[0].orelse]
            for option in options:
                key = pattern(option)
                if key is not None:
                    suffix = r"\.(one|many)" if name == "plural" else ""
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", key + suffix


def test_no_key_is_in_two_tables():
    counted = Counter(key for table in TABLES for key in table)
    assert [key for key, number in counted.items() if number > 1] == []


@pytest.mark.parametrize("key", PAIRS)
def test_languages_have_the_same_places(key):
    places = [
        sorted(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)
        for text in PAIRS[key]
    ]
    # A language may name a place twice, or say "one" for the number 1.
    spoken = {"number"} if key.endswith(".one") else set()
    assert set(places[0]) - spoken == set(places[1]) - spoken
    ends = [(text != text.lstrip(), text != text.rstrip()) for text in PAIRS[key]]
    assert ends[0] == ends[1]
    assert len({bool(text) for text in PAIRS[key]}) == 1


def test_every_key_that_is_asked_for_exists():
    missing = [
        (where, key)
        for where, key in asked()
        if not any(re.fullmatch(key, known) for known in PAIRS)
    ]
    assert missing == []


def test_every_key_is_asked_for():
    patterns = {re.compile(key) for _, key in asked()}
    texts = {
        key
        for path in SOURCES
        for node in ast.walk(tree(path))
        if (key := pattern(node)) is not None and "\\." in key
    }
    # A key may also wait in a table of the code, or be put together from a part of it.
    patterns |= {re.compile(text + r"(\.(one|many))?") for text in texts if text[0].isalpha()}
    unused = [
        key
        for key in PAIRS
        if not NAMED_ELSEWHERE.match(key) and not any(one.fullmatch(key) for one in patterns)
    ]
    assert unused == []


def test_plurals_have_both_forms():
    forms = {key.rpartition(".")[0] for key in PAIRS if key.endswith((".one", ".many"))}
    assert [key for key in forms if not {f"{key}.one", f"{key}.many"} <= PAIRS.keys()] == []


def silent(node):
    """Nodes below ``node`` whose strings nobody sees: documentation, bindings, assertions."""
    for child in ast.walk(node):
        body = getattr(child, "body", None)
        if isinstance(child, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from (one.value for one in body if isinstance(one, ast.Expr))
        if isinstance(child, ast.Call) and isinstance(child.func, ast.Name | ast.Attribute):
            name = child.func.id if isinstance(child.func, ast.Name) else child.func.attr
            if name in ("Binding", "cast", "compile", "split"):
                yield from ast.walk(child)
        if isinstance(child, ast.Assert | ast.Raise) and not isinstance(child, ast.Expr):
            yield from ast.walk(child)


def test_no_sentence_stands_in_the_code_itself():
    found = []
    for path in SOURCES:
        if str(path.relative_to(ROOT)) in TECHNICAL:
            continue
        module = tree(path)
        unseen = {id(node) for node in silent(module)}
        found += [
            f"{path.relative_to(ROOT)}:{node.lineno}: {node.value!r}"
            for node in ast.walk(module)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in unseen
            and TWO_WORDS.match(node.value)
            and not DATABASE.search(node.value)
        ]
    assert found == []


def test_numbers_and_ages_in_italian():
    use("it")
    assert (decimal(3.14159, 2), count(3100), size(2_300_000_000)) == ("3,14", "3,1k", "2,3 GB")
    ages = (0, 300, 7200, 3 * 86_400, 70 * 86_400, 400 * 86_400, 800 * 86_400)
    assert [age(seconds) for seconds in ages] == [
        "ora",
        "5min",
        "2h",
        "3g",
        "2mesi",
        "1anno",
        "2anni",
    ]


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "it_IT.UTF-8"}, "it"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "en_GB.UTF-8", "LC_ALL": "it_CH.UTF-8"}, "it"),
        ({"LANG": "it_IT.UTF-8", "LC_MESSAGES": "C"}, "en"),
    ],
)
def test_the_system_language(monkeypatch, environment, language):
    for variable in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    assert system_language() == language


def test_saying():
    assert say("chat.code_copied", number=2) == "Code block 2 is copied."
    assert plural("chat.new_lines", 1).startswith("↓ 1 new line ")
    with pytest.raises(KeyError):
        say("chat.nonsense")
