"""The text that the built-in model learns from: two old books and our own dialogues.

A dialogue file (``texts/chat.*.txt``) lists topics; a topic has turns; a turn has ways to ask,
short thoughts and ways to answer. ``[a|b]`` stands for one of its parts and ``{name}`` for a value
drawn once per dialogue. Combining them gives far more dialogues than anybody would write, and
every draw depends on nothing but the random generator that is passed in.
"""

from __future__ import annotations

import lzma
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Language = Literal["en", "it"]
LANGUAGES: tuple[Language, ...] = ("en", "it")
TEXTS = Path(__file__).parent / "texts"

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")
# How often a topic is drawn, where it is not 1: what people ask most, and what nobody foresaw.
_WEIGHTS = {
    "unknown": 14.0,
    "greeting": 7.0,
    "who-are-you": 6.0,
    "quantise": 5.0,
    "name": 5.0,
    "what-can-you-do": 2.0,
    "load-real": 2.0,
    "how-are-you": 3.0,
    "thanks": 3.0,
    "bye": 3.0,
    "offline": 2.0,
    "keys": 2.0,
    "moe": 2.0,
    "praise": 2.0,
    "smart": 2.0,
    "stop": 2.0,
    "sky": 3.0,
    "capital": 2.0,
    "sum": 5.0,
}
_SYSTEM = (
    "You are a helpful assistant.",
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
    "You are the guide of mlxqwen. Answer briefly.",
    "Answer briefly.",
    "Be friendly and honest.",
    "Sei un assistente utile.",
    "Rispondi in modo breve e gentile.",
)
_POLITE: dict[Language, tuple[str, ...]] = {
    "en": ("Please, ", "Sorry, ", "Tell me, ", "And ", "So, ", "Hi! ", "Hello, "),
    "it": ("Scusa, ", "Per favore, ", "Dimmi, ", "E ", "Allora, ", "Ciao! ", "Senti, "),
}
_NAMES = """
Anna Marco Giulia Luca Sofia Matteo Chiara Paolo Elena Davide Sara Andrea Laura Stefano Marta
Giorgio Francesca Roberto Silvia Antonio Maria Giovanni Paola Carlo Lucia Pietro Irene Franco
Alice Bob John Mary Peter Susan David Emma Tom Jane Max Lisa Sam Kate Ben Rose Jack Lucy Mark
Helen Paul Julia Simon Nora Oscar Ida Hugo Clara Felix Eva Leo Mia Noah Zoe Adam Ruth Ivan
"""
_SYLLABLES = (
    "ba be bi da de di do fa fe fi ga go la le li lo ma mi mo na ne ni ri ro sa se ta ti vi zo"
)
_CAPITALS: dict[Language, tuple[tuple[str, str], ...]] = {
    "en": (
        ("Italy", "Rome"),
        ("France", "Paris"),
        ("Germany", "Berlin"),
        ("Spain", "Madrid"),
        ("Portugal", "Lisbon"),
        ("England", "London"),
        ("Greece", "Athens"),
        ("Austria", "Vienna"),
        ("Japan", "Tokyo"),
        ("China", "Beijing"),
        ("Russia", "Moscow"),
        ("Poland", "Warsaw"),
        ("Sweden", "Stockholm"),
        ("Egypt", "Cairo"),
    ),
    "it": (
        ("dell'Italia", "Roma"),
        ("della Francia", "Parigi"),
        ("della Germania", "Berlino"),
        ("della Spagna", "Madrid"),
        ("del Portogallo", "Lisbona"),
        ("dell'Inghilterra", "Londra"),
        ("della Grecia", "Atene"),
        ("dell'Austria", "Vienna"),
        ("del Giappone", "Tokyo"),
        ("della Cina", "Pechino"),
        ("della Russia", "Mosca"),
        ("della Polonia", "Varsavia"),
        ("della Svezia", "Stoccolma"),
        ("dell'Egitto", "Il Cairo"),
    ),
}


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange: patterns of the question, of the thought and of the answer."""

    questions: tuple[str, ...]
    thoughts: tuple[str, ...]
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Topic:
    """What a dialogue can be about, with the turns that follow each other."""

    name: str
    language: Language
    turns: tuple[Turn, ...]


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Chat messages whose last is the assistant's; ``thought`` belongs to that last one."""

    messages: tuple[dict[str, str], ...]
    thought: str | None


def prose(language: Language) -> str:
    """The book in ``language``, its paragraphs unwrapped and separated by an empty line."""
    packed = (TEXTS / f"prose.{language}.txt.xz").read_bytes()
    text = lzma.decompress(packed).decode("utf-8")
    paragraphs = (" ".join(block.split()) for block in re.split(r"\n\s*\n", text))
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def topics(language: Language) -> tuple[Topic, ...]:
    """Reads the dialogue file of ``language``.

    Raises:
        ValueError: if a line is none of ``## ``, ``>>``, ``Q:``, ``T:``, ``A:``, ``@`` and ``#``,
            or a turn lacks a question, a thought or an answer.
    """
    found: list[Topic] = []
    name = ""
    turns: list[Turn] = []
    parts: dict[str, list[str]] = {"Q": [], "T": [], "A": []}

    def close_turn() -> None:
        turns.append(Turn(tuple(parts["Q"]), tuple(parts["T"]), tuple(parts["A"])))
        if not all(parts.values()):
            raise ValueError(f"Topic {name} ({language}): a turn needs Q, T and A.")
        for lines in parts.values():
            lines.clear()

    def close_topic() -> None:
        if name:
            close_turn()
            found.append(Topic(name, language, tuple(turns)))
            turns.clear()

    for line in (TEXTS / f"chat.{language}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            close_topic()
            name = line[3:].strip()
        elif line == ">>":
            close_turn()
        elif line.startswith("@"):
            parts["Q"].extend([_file_pattern(line[1:], language)] * 4)
        elif line[:2] in ("Q:", "T:", "A:"):
            parts[line[0]].append(line[3:].replace("\\n", "\n"))
        elif line and not line.startswith("#"):
            raise ValueError(f"chat.{language}.txt: cannot read the line {line!r}.")
    close_topic()
    return tuple(found)


def _file_pattern(_name: str, language: Language) -> str:
    """One pattern that chooses among the lines of ``questions.<language>.txt``."""
    lines = (TEXTS / f"questions.{language}.txt").read_text(encoding="utf-8").splitlines()
    safe = (re.sub(r"[\[\]|{}]", "", line) for line in lines if line and line[0] != "#")
    return f"[{'|'.join(safe)}]"


def expand(pattern: str, rng: random.Random, values: dict[str, str]) -> str:
    """Replaces every ``[a|b]``, innermost first, and every ``{name}``."""
    while (match := _CHOICE.search(pattern)) is not None:
        chosen = rng.choice(match[1].split("|"))
        pattern = pattern[: match.start()] + chosen + pattern[match.end() :]
    return _SLOT.sub(lambda slot: values[slot[1]], pattern)


def _name(rng: random.Random) -> str:
    """A usual name, or one made up: only by copying can it be said back."""
    if rng.random() < 0.5:
        return rng.choice(_NAMES.split())
    return "".join(rng.choice(_SYLLABLES.split()) for _ in range(rng.choice((2, 3)))).title()


def _values(language: Language, rng: random.Random) -> dict[str, str]:
    country, capital = rng.choice(_CAPITALS[language])
    a, b = rng.randint(0, 9), rng.randint(0, 9)
    return {
        "name": _name(rng),
        "country": country,
        "capital": capital,
        "a": str(a),
        "b": str(b),
        "sum": str(a + b),
    }


def _as_typed(text: str, language: Language, rng: random.Random) -> str:
    """A question as people type it: polite, careless, without accents, with a slip."""
    if rng.random() < 0.12 and len(text) > 12:
        text = rng.choice(_POLITE[language]) + text[0].lower() + text[1:]
    if rng.random() < 0.3:
        text = text.lower()
    if rng.random() < 0.15:
        text = text.rstrip("?.!")
    if language == "it" and rng.random() < 0.12:
        text = text.translate(str.maketrans("àèéìòùÈ", "aeeiouE"))
    if rng.random() < 0.1 and len(text) > 8:
        at = rng.randrange(1, len(text) - 2)
        swapped = text[at + 1] + text[at]
        text = text[:at] + rng.choice((swapped, text[at])) + text[at + 2 :]
    return text if text.strip() else "?"


class Dialogues:
    """An endless source of dialogues in both languages."""

    def __init__(self) -> None:
        self._topics = {language: topics(language) for language in LANGUAGES}
        self._weights = {
            language: [_WEIGHTS.get(topic.name, 1.0) for topic in found]
            for language, found in self._topics.items()
        }

    def topic(self, name: str, language: Language) -> Topic:
        """The topic ``name``; ``KeyError`` where there is none."""
        return {topic.name: topic for topic in self._topics[language]}[name]

    def draw(self, rng: random.Random, *, longest: int = 4) -> Dialogue:
        """One dialogue of up to ``longest`` topics; half of them end with a thought."""
        language: Language = "en" if rng.random() < 0.52 else "it"
        count = rng.choices(
            range(1, longest + 1), weights=[0.55] + [0.45 / longest] * (longest - 1)
        )
        messages: list[dict[str, str]] = []
        if rng.random() < 0.2:
            messages.append({"role": "system", "content": rng.choice(_SYSTEM)})
        thought = ""
        for _ in range(count[0]):
            if rng.random() < 0.06:
                language = "it" if language == "en" else "en"
            topic = rng.choices(self._topics[language], weights=self._weights[language])[0]
            follow = len(topic.turns) if rng.random() < 0.5 else 1
            thought = self._ask(messages, topic, topic.turns[:follow], rng)
        return Dialogue(tuple(messages), thought if rng.random() < 0.5 else None)

    def _ask(
        self,
        messages: list[dict[str, str]],
        topic: Topic,
        turns: tuple[Turn, ...],
        rng: random.Random,
    ) -> str:
        values = _values(topic.language, rng)
        thought = ""
        for turn in turns:
            question = expand(rng.choice(turn.questions), rng, values)
            if "{name}" not in "".join(turn.questions):
                question = _as_typed(question, topic.language, rng)
            thought = expand(rng.choice(turn.thoughts), rng, values)
            answer = expand(rng.choice(turn.answers), rng, values)
            messages.append({"role": "user", "content": question})
            messages.append({"role": "assistant", "content": answer})
        return thought
