from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxqwen.text.channels import Channels, Part, Text, Thinking, ToolCall

HERMES = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
CODER = "<tool_call>\n<function=f>\n<parameter=a>\nx y\n</parameter>\n</function>\n</tool_call>"
BARE = CODER.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>")


def merged(parts: Sequence[Part]) -> list[Part]:
    """Neighbours of one kind as one: what does not depend on how the stream was cut."""
    result: list[Part] = []
    for part in parts:
        last = result[-1] if result else None
        if isinstance(part, Text) and isinstance(last, Text):
            result[-1] = Text(last.text + part.text)
        elif isinstance(part, Thinking) and isinstance(last, Thinking):
            result[-1] = Thinking(last.text + part.text)
        else:
            result.append(part)
    return result


def split(pieces: str | Sequence[str], **options: Any) -> list[Part]:
    channels = Channels(**options)
    parts: list[Part] = []
    for piece in pieces if not isinstance(pieces, str) else [pieces]:
        parts += channels.feed(piece)
    return merged(parts + channels.finish())


@pytest.mark.parametrize(
    ("stream", "parts"),
    [
        ("", []),
        ("Hello.", [Text("Hello.")]),
        ("<think>\nhm\n</think>\n\nHi", [Thinking("hm"), Text("Hi")]),
        ("\n<think>hm</think>Hi", [Thinking("hm"), Text("Hi")]),
        ("<think>\n\n</think>\n\nHi", [Text("Hi")]),
        ("<think>\na\n\n b \n\n</think>\n\n\nHi\n", [Thinking("a\n\n b "), Text("Hi\n")]),
        ("<think>\n  a</think>\n\n  code", [Thinking("  a"), Text("  code")]),
        ("<think>a</think>\n<think>b</think>\nc", [Thinking("ab"), Text("c")]),
        ("<think>never closed\n", [Thinking("never closed\n")]),
        ("Say <think>x</think>", [Text("Say <think>x</think>")]),
        ("Hi</think>", [Text("Hi</think>")]),
        ("\n\n  indented", [Text("  indented")]),
        ("<thin", [Text("<thin")]),
        ("\n\n", []),
    ],
)
def test_thinking_and_answer(stream: str, parts: list[Part]) -> None:
    assert split(stream) == parts
    assert split(list(stream)) == parts


@pytest.mark.parametrize(
    ("stream", "parts"),
    [
        ("hm\n</think>\n\nHi", [Thinking("hm"), Text("Hi")]),
        ("\n\n</think>\n\nHi", [Text("Hi")]),
        ("<think>\nhm</think>Hi", [Thinking("hm"), Text("Hi")]),
        ("a <think> b</think>Hi", [Thinking("a <think> b"), Text("Hi")]),
        ("hm", [Thinking("hm")]),
        (f"{HERMES}\n</think>\n", [Thinking(HERMES)]),
        (f"stop {CODER}</think>ok", [Thinking(f"stop {CODER}"), Text("ok")]),
    ],
)
def test_thought_that_the_prompt_opened(stream: str, parts: list[Part]) -> None:
    assert split(stream, thinking=True, stop=["stop"]) == parts
    assert split(list(stream), thinking=True, stop=["stop"]) == parts


CALL = ToolCall("f", {"a": 1}, HERMES)
XML = ToolCall("f", {"a": "x y"}, CODER)


@pytest.mark.parametrize(
    ("stream", "parts"),
    [
        (HERMES, [CALL]),
        (CODER, [XML]),
        (BARE, [ToolCall("f", {"a": "x y"}, BARE)]),
        (f"{BARE}\n</tool_call>", [ToolCall("f", {"a": "x y"}, f"{BARE}\n</tool_call>")]),
        (f"Let me see.\n\n{HERMES}\n", [Text("Let me see."), CALL]),
        (f"\n{HERMES}\n{HERMES}\n{CODER}", [CALL, CALL, XML]),
        (f"a{HERMES}b", [Text("a"), CALL, Text("b")]),
        (f"a\n{HERMES}\nb", [Text("a"), CALL, Text("\nb")]),
        (f"{HERMES}\n\nb", [CALL, Text("b")]),
        (f"<think>\nhm\n</think>\n\n{HERMES}", [Thinking("hm"), CALL]),
        (f"see:\n{BARE}", [Text("see:"), ToolCall("f", {"a": "x y"}, BARE)]),
        (f"see: {BARE}", [Text(f"see: {BARE}")]),
        (f"<tool_call>oops {HERMES}", [Text("<tool_call>oops "), CALL]),
        (f"<tool_call>{HERMES}", [Text("<tool_call>"), CALL]),
    ],
)
def test_tool_calls(stream: str, parts: list[Part]) -> None:
    assert split(stream) == parts
    assert split(list(stream)) == parts


@pytest.mark.parametrize(
    "raw",
    [
        "<tool_call>",
        "<tool_call>\n",
        "<tool_call></tool_call>",
        "<tool_call>\n{\n</tool_call>",
        '<tool_call>\n{"name": "f", "arguments": {"a": 1}\n</tool_call>',
        '<tool_call>\n{"name": "f", "arguments": {"a": 1}}}\n</tool_call>',
        '<tool_call>{"name": "f", "arguments": {"a": 1}} and </tool_call>',
        '<tool_call>{"name": "f", "arguments": {"a": 1',
        '<tool_call>{"name": "f", "arguments": {"a": "1',
        '<tool_call>{"name": "f", "arguments": {"a": 1}}',
        "<tool_call>{'name': 'f', 'arguments': {}}</tool_call>",
        '<tool_call>{"name": "", "arguments": {}}</tool_call>',
        '<tool_call>{"name": 3, "arguments": {}}</tool_call>',
        '<tool_call>{"name": "f", "arguments": [1]}</tool_call>',
        '<tool_call>{"name": "f", "arguments": "[1"}</tool_call>',
        '<tool_call>{"arguments": {}}</tool_call>',
        '<tool_call>{"name": "f" "arguments": {}}</tool_call>',
        '<tool_call>["f", {}]</tool_call>',
        "<tool_call>" + '{"a": [' * 5000 + "]}" * 5000 + "</tool_call>",
        "<tool_call><function=>\n</function></tool_call>",
        "<tool_call><function=f\n></function></tool_call>",
        "<tool_call><function=f></function> then</tool_call>",
        "<tool_call><function=f>text</function></tool_call>",
        "<function=f>text</function>",
        "<function=f>\n<parameter=a>\n1\n</parameter>",
        "<function=f>\n<parameter=a>\n1\n</function>",
        "<function=" + "f" * 500 + "></function>",
    ],
)
@pytest.mark.parametrize("before", ["", "Look:\n"])
def test_what_is_no_call_is_text(raw: str, before: str) -> None:
    assert split(before + raw) == [Text(before + raw)]
    if len(raw) < 1000:
        assert split(list(before + raw)) == [Text(before + raw)]


def test_tags_inside_values_close_nothing() -> None:
    code = 'print("</parameter>")\n# </function></tool_call>\n<tool_call>{</parameter>\nx'
    body = f"<function=f>\n<parameter=a>\n{code}\n</parameter>\n</function>"
    wrapped = f"<tool_call>\n{body}\n</tool_call>"
    assert split(wrapped) == [ToolCall("f", {"a": code}, wrapped)]
    assert split(body) == [ToolCall("f", {"a": code}, body)]
    arguments = {"a": '</tool_call>\n<tool_call>{"\\', "b": "{[}"}
    raw = f"<tool_call>{json.dumps({'name': 'f', 'arguments': arguments})}</tool_call>"
    assert split(list(raw)) == [ToolCall("f", arguments, raw)]


def test_a_wrapped_value_may_end_a_function() -> None:
    code = "<function=g>\n<parameter=b>\n1\n</parameter>\n</function>\nand so on"
    raw = (
        f"<tool_call>\n<function=f>\n<parameter=a>\n{code}\n</parameter>\n</function>\n</tool_call>"
    )
    call = split(raw)[0]
    assert isinstance(call, ToolCall)
    assert call.name == "f"


def test_a_call_without_its_closing_tag_before_another() -> None:
    first = CODER.removesuffix("\n</tool_call>")
    assert split(f"{first}\n{CODER}") == [ToolCall("f", {"a": "x y"}, first), XML]
    two = "<tool_call><function=f></function><function=g></function></tool_call>"
    calls = [(part.name, part.raw) for part in split(two) if isinstance(part, ToolCall)]
    assert calls == [
        ("f", "<tool_call><function=f></function>"),
        ("g", "<function=g></function></tool_call>"),
    ]


def test_hermes_arguments_as_models_write_them() -> None:
    for arguments, wanted in [
        ('{"a": "line\nbreak"}', {"a": "line\nbreak"}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ('{"a": "\\ud83e\\udd99 é"}', {"a": "🦙 é"}),
    ]:
        raw = f'<tool_call>{{"name": "f", "arguments": {arguments}}}</tool_call>'
        assert split(raw) == [ToolCall("f", wanted, raw)]
    assert split('<tool_call>{"name": "f"}</tool_call>')[0] == ToolCall(
        "f", {}, '<tool_call>{"name": "f"}</tool_call>'
    )


class TestStop:
    def test_ends_the_answer(self) -> None:
        channels = Channels(stop=["STOP", "###"])
        assert channels.feed("ab ST") == [Text("ab ")]
        assert not channels.stopped
        assert channels.feed("OP cd ###") == []
        assert channels.stopped
        assert channels.feed("more") == []
        assert channels.finish() == []

    def test_partial_matches_are_given_out_in_the_end(self) -> None:
        channels = Channels(stop=["STOP"])
        assert channels.feed("STO") == []
        assert channels.feed("RE ST") == [Text("STORE ")]
        assert channels.finish() == [Text("ST")]

    def test_the_first_complete_one_counts(self) -> None:
        for pieces in (["xabcd"], list("xabcd")):
            assert split(pieces, stop=["abcd", "bc"]) == [Text("xa")]

    def test_line_breaks_stop_at_once(self) -> None:
        channels = Channels(stop=["\n\n"])
        assert channels.feed("a\n") == [Text("a")]
        assert channels.feed("\n") == []
        assert channels.stopped

    def test_calls_are_not_searched(self) -> None:
        assert split(HERMES, stop=["name", "\n"]) == [CALL]
        assert split(f"a ST{HERMES}", stop=["STOP"]) == [Text("a ST"), CALL]

    def test_text_that_is_no_call_is_searched(self) -> None:
        assert split("a <tool_call>no STOP", stop=["STOP"]) == [Text("a <tool_call>no ")]

    def test_nothing_after_it(self) -> None:
        assert split(f"a STOP {HERMES}", stop=["STOP"]) == [Text("a ")]

    def test_an_empty_string_stops_nothing(self) -> None:
        assert split("ab", stop=[""]) == [Text("ab")]


def test_raw_streams_keep_everything_but_stop_strings() -> None:
    stream = f"\n\n<think>a</think>\n{HERMES}\n"
    assert split(stream, raw=True) == [Text(stream)]
    assert split(list(stream), raw=True, stop=["</think>"]) == [Text("\n\n<think>a")]


def test_text_comes_at_once() -> None:
    channels = Channels()
    assert channels.feed("<think>") == []
    assert channels.thinking
    assert channels.feed("\nWell") == [Thinking("Well")]
    assert channels.feed(", a < b") == [Thinking(", a < b")]
    assert channels.feed(" <") == [Thinking(" ")]
    assert channels.feed("/b>") == [Thinking("</b>")]
    assert channels.feed("</think>") == []
    assert not channels.thinking
    assert channels.feed("\n\nYes ") == [Text("Yes ")]
    assert channels.feed("<tool") == []
    assert channels.feed("box>\n") == [Text("<toolbox>")]
    assert channels.feed("x") == [Text("\nx")]
    assert channels.feed("<tool_call>no") == [Text("<tool_call>no")]
    assert channels.feed("\n<function=") == []
    assert channels.feed("f> is") == [Text("\n<function=f> is")]
    assert channels.finish() == []


def test_long_arguments_cost_linear_time() -> None:
    value = "if a > b: # </param\n" * 20_000
    raw = (
        f"<tool_call>\n<function=f>\n<parameter=a>\n{value}\n</parameter>\n</function></tool_call>"
    )
    pieces = [raw[at : at + 16] for at in range(0, len(raw), 16)]
    assert split(pieces) == [ToolCall("f", {"a": value}, raw)]


FRAGMENTS = [
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<function=f>", "<function=",
    "</function>", "<parameter=a>", "</parameter>", '{"name": "f", "arguments": {"x": "', '"}}',
    '{"name": "g"}', "\n", "\n\n", " ", "\r\n", "\t", "a", "b c", "<", "</", "STOP", "ST", "é🦙",
    HERMES, CODER, BARE,
]  # fmt: skip
STREAMS = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join)


@settings(max_examples=600, deadline=None)
@given(
    stream=STREAMS,
    cuts=st.lists(st.integers(0, 400), max_size=12),
    thinking=st.booleans(),
    stop=st.sampled_from([(), ("STOP",), ("\n\n", "a"), ("STOP", "OP", " \n")]),
)
def test_any_split_gives_the_same(
    stream: str, cuts: list[int], thinking: bool, stop: tuple[str, ...]
) -> None:
    ends = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in itertools.pairwise(ends)]
    whole = split(stream, thinking=thinking, stop=stop)
    assert split(pieces, thinking=thinking, stop=stop) == whole
    assert split(list(stream), thinking=thinking, stop=stop) == whole


def squeezed(text: str) -> str:
    """``text`` without the tags around thoughts and without blanks."""
    return "".join(text.replace("<think>", "").replace("</think>", "").split())


@settings(max_examples=400, deadline=None)
@given(stream=STREAMS, thinking=st.booleans())
def test_no_text_is_lost_or_invented(stream: str, thinking: bool) -> None:
    parts = split(stream, thinking=thinking)
    spoken = "".join(part.raw if isinstance(part, ToolCall) else part.text for part in parts)
    assert squeezed(spoken) == squeezed(stream)


NAMES = st.text("abcdefghijklmnopqrstuvwxyzABC_-.09", min_size=1, max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(max_size=20)
    | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(FRAGMENTS),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
SURROUNDING = st.sampled_from(["", "Let me look.\n", "<think>\nhm\n</think>\n\n", "<"])


@settings(max_examples=300, deadline=None)
@given(
    name=NAMES | st.sampled_from(FRAGMENTS),
    arguments=st.dictionaries(st.text(max_size=8), JSON, max_size=4),
    ascii_only=st.booleans(),
    before=SURROUNDING,
)
def test_hermes_calls_round_trip(
    name: str, arguments: dict[str, Any], ascii_only: bool, before: str
) -> None:
    content = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=ascii_only)
    raw = f"<tool_call>\n{content}\n</tool_call>"
    assert split(list(before + raw))[-1] == ToolCall(name, arguments, raw)


VALUES = st.text(max_size=40) | st.lists(st.sampled_from(FRAGMENTS[9:24]), max_size=6).map("".join)


@settings(max_examples=300, deadline=None)
@given(
    name=NAMES,
    arguments=st.dictionaries(NAMES, VALUES, max_size=4),
    wrapped=st.booleans(),
    before=SURROUNDING,
)
def test_coder_calls_round_trip(
    name: str, arguments: dict[str, str], wrapped: bool, before: str
) -> None:
    before = "" if before == "<" and not wrapped else before
    raw = f"<function={name}>\n"
    for key, value in arguments.items():
        raw += f"<parameter={key}>\n{value}\n</parameter>\n"
    raw += "</function>"
    if wrapped:
        raw = f"<tool_call>\n{raw}\n</tool_call>"
    assert split(list(before + raw))[-1] == ToolCall(name, arguments, raw)
