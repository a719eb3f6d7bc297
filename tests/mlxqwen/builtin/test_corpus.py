"""The text the built-in model learns from is complete, true to form and reproducible."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from mlxqwen.builtin.corpus import LANGUAGES, TEXTS, Dialogues, Language, expand, prose, topics


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_pattern_expands_completely(language: Language) -> None:
    values = dict.fromkeys(("name", "country", "capital", "a", "b", "sum"), "7")
    rng = random.Random(0)
    for topic in topics(language):
        for turn in topic.turns:
            for pattern in (*turn.questions, *turn.thoughts, *turn.answers):
                for _ in range(3):
                    text = expand(pattern, rng, values)
                    assert text.strip(), pattern
                    assert not re.search(r"[\[\]{}|]", text), text


def test_both_languages_have_the_same_topics() -> None:
    english, italian = ({topic.name for topic in topics(language)} for language in LANGUAGES)
    assert english ^ italian == {"italian-please", "english-please"}


def test_expand_handles_nesting_and_slots() -> None:
    texts = {expand("[a|b[c|d]] {name}", random.Random(n), {"name": "x"}) for n in range(40)}
    assert texts == {"a x", "bc x", "bd x"}


def test_dialogues_depend_on_the_generator_alone() -> None:
    def drawn(seed: int) -> list[object]:
        rng, dialogues = random.Random(seed), Dialogues()
        return [dialogues.draw(rng) for _ in range(20)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_dialogues_alternate_and_end_with_an_answer() -> None:
    rng, dialogues = random.Random(4), Dialogues()
    thinking = 0
    for _ in range(300):
        dialogue = dialogues.draw(rng)
        roles = [message["role"] for message in dialogue.messages]
        if roles[0] == "system":
            roles = roles[1:]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert all(message["content"].strip() for message in dialogue.messages)
        thinking += dialogue.thought is not None
    assert 100 < thinking < 200


def test_names_and_sums_are_carried_into_the_answer() -> None:
    rng, dialogues = random.Random(5), Dialogues()
    sums = 0
    for _ in range(1500):
        for message in dialogues.draw(rng).messages:
            match = re.fullmatch(r"(\d+) \+ (\d+) = (\d+)\.", message["content"])
            if match is not None:
                sums += 1
                assert int(match[1]) + int(match[2]) == int(match[3])
    assert sums > 5


@pytest.mark.parametrize(("language", "opening"), [("en", "Alice was"), ("it", "C'era una volta")])
def test_prose_is_unwrapped(language: Language, opening: str) -> None:
    text = prose(language)
    assert opening in text[:400]
    assert len(text) > 140_000
    assert not re.search(r"[^\n]\n[^\n]", text)


def test_a_misspelt_dialogue_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlxqwen.builtin.corpus.TEXTS", tmp_path)
    (tmp_path / "chat.en.txt").write_text("## a\nQ: b\nWhat?\n")
    with pytest.raises(ValueError, match="cannot read the line"):
        topics("en")
    (tmp_path / "chat.en.txt").write_text("## a\nQ: b\nT: c\n")
    with pytest.raises(ValueError, match="Topic a"):
        topics("en")


def test_texts_are_small_and_their_origins_stated() -> None:
    files = {path.name: path for path in TEXTS.iterdir()}
    stated = files.pop("ATTRIBUTION.md").read_text()
    assert sum(path.stat().st_size for path in files.values()) < 500_000
    assert all(f"`{name}`" in stated for name in files)
