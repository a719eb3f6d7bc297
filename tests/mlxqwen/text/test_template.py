from __future__ import annotations

import json
import lzma
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from mlxqwen.errors import TemplateError
from mlxqwen.text.template import ChatTemplate, close_thinking, opens_thinking
from mlxqwen.text.tokenizer import Tokenizer

QWEN3 = Path(__file__).parents[2] / "data" / "qwen3"
RENDERS: dict[str, Any] = json.loads(lzma.decompress((QWEN3 / "chat_renders.json.xz").read_bytes()))
HELLO = [{"role": "user", "content": "hi"}]


def template(name: str) -> ChatTemplate:
    return ChatTemplate((QWEN3 / "templates" / name).read_text("utf-8"))


@pytest.mark.parametrize("name", sorted(RENDERS["renders"]))
def test_renders_as_transformers_does(name: str, tokenizer: Tokenizer) -> None:
    compiled = template(name)
    wanted: Mapping[str, Any] = RENDERS["renders"][name]
    assert len(wanted) == 11
    for case, expected in wanted.items():
        arguments = dict(RENDERS["cases"][case])
        text = compiled.render(arguments.pop("messages"), **arguments)
        assert text == expected["text"], case
        assert ("ids" in expected) == ("Omni" not in name)
        if "ids" in expected:
            assert tokenizer.encode(text) == expected["ids"], case


def test_all_thirteen_templates_are_here() -> None:
    assert len(RENDERS["renders"]) == 13
    assert {path.name for path in (QWEN3 / "templates").iterdir()} == set(RENDERS["renders"])


@pytest.mark.parametrize(
    ("name", "think", "opens"),
    [
        ("Qwen3.jinja", None, False),
        ("Qwen3.jinja", True, False),
        ("Qwen3.jinja", False, False),
        ("Qwen3-Thinking-2507.jinja", None, True),
        ("QwQ-32B.jinja", None, True),
        ("Qwen3-Instruct-2507.jinja", None, False),
        ("Qwen3-Coder.jinja", None, False),
    ],
)
def test_thinking_is_read_off_the_prompt(name: str, think: bool | None, opens: bool) -> None:
    variables: dict[str, Any] = {} if think is None else {"enable_thinking": think}
    prompt = template(name).render(
        [{"role": "user", "content": "What does <think> mean?"}], **variables
    )
    assert opens_thinking(prompt) is opens


CLOSED = "<|im_start|>assistant\n<think>\n\n</think>\n\n"


@pytest.mark.parametrize(
    ("name", "end"),
    [
        ("Qwen3.jinja", CLOSED),  # by its own switch
        ("Qwen3.2025-04-initial.jinja", CLOSED),
        ("Qwen3.mlx-2025-05-variant.jinja", CLOSED),
        ("Qwen3-Thinking-2507.jinja", CLOSED),  # the others open a thought whatever one says
        ("QwQ-32B.jinja", CLOSED),
        ("QwQ-32B.llamacpp-2025-05.jinja", CLOSED),
        ("Qwen3-Instruct-2507.jinja", "<|im_start|>assistant\n"),
        ("Qwen3-Instruct-2507.early-variant.jinja", "<|im_start|>assistant\n"),
        ("Qwen3-Coder.jinja", "<|im_start|>assistant\n"),
        ("Qwen3-Coder.2025-07-initial.jinja", "<|im_start|>assistant\n"),
        ("Qwen3-Coder.llamacpp-edited.jinja", "<|im_start|>assistant\n"),
        ("Qwen2.5-Instruct.jinja", "<|im_start|>assistant\n"),
        ("Qwen2.5-Omni.jinja", "<|im_start|>assistant\n"),
    ],
)
def test_a_thought_not_wanted_is_closed(name: str, end: str) -> None:
    prompt = close_thinking(template(name).render(HELLO, enable_thinking=False))
    assert prompt.endswith(f"hi<|im_end|>\n{end}")
    assert not opens_thinking(prompt)
    assert close_thinking(prompt) == prompt


@pytest.mark.parametrize("switch", ["/think", "/no_think"])
def test_soft_switches_are_the_models_business(switch: str) -> None:
    asked = [{"role": "user", "content": f"hi {switch}"}]
    for name in sorted(RENDERS["renders"]):
        prompt = template(name).render(asked)
        assert f"hi {switch}<|im_end|>" in prompt
        assert opens_thinking(prompt) == opens_thinking(template(name).render(HELLO))


# Two questions; before the second answer the model calls a tool and reads what it said.
TOOL_LOOP: list[dict[str, Any]] = [
    {"role": "user", "content": "first question"},
    {"role": "assistant", "content": "first answer", "reasoning_content": "OLD THOUGHT"},
    {"role": "user", "content": "second question"},
    {
        "role": "assistant",
        "content": "",
        "reasoning_content": "LIVE THOUGHT",
        "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"a": 1}}}],
    },
    {"role": "tool", "content": "tool result"},
]
THINKERS = ["Qwen3.jinja", "Qwen3.mlx-2025-05-variant.jinja", "Qwen3-Thinking-2507.jinja"]


def inlined(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same with thoughts inside the content, as other programs keep them."""
    changed = [dict(message) for message in messages]
    for message in changed:
        thought = message.pop("reasoning_content", None)
        if thought is not None:
            message["content"] = f"<think>\n{thought}\n</think>\n\n{message['content']}"
    return changed


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("name", THINKERS)
def test_old_thoughts_are_dropped_and_live_ones_kept(name: str, inline: bool) -> None:
    messages = inlined(TOOL_LOOP) if inline else TOOL_LOOP
    prompt = template(name).render(messages)
    assert "OLD THOUGHT" not in prompt
    assert "<|im_start|>assistant\nfirst answer<|im_end|>" in prompt
    assert prompt.count("LIVE THOUGHT") == 1
    assert "<think>\nLIVE THOUGHT\n</think>" in prompt
    later = [*messages, {"role": "assistant", "content": "done"}, {"role": "user", "content": "3"}]
    assert "THOUGHT" not in template(name).render(later)


@pytest.mark.parametrize("name", ["QwQ-32B.jinja", "QwQ-32B.llamacpp-2025-05.jinja"])
def test_qwq_drops_every_thought(name: str) -> None:
    prompt = template(name).render(inlined(TOOL_LOOP))
    assert "THOUGHT" not in prompt
    assert "first answer" in prompt
    assert prompt.count("<think>") == 1  # the one that the prompt opens


def test_a_conversation_that_goes_on_opens_what_its_template_opens() -> None:
    for name in sorted(RENDERS["renders"]):
        opens = name.startswith(("QwQ", "Qwen3-Thinking"))
        assert opens_thinking(template(name).render(TOOL_LOOP[:3])) is opens, name
        closed = template(name).render(TOOL_LOOP[:2], add_generation_prompt=False)
        assert not opens_thinking(closed), name


@pytest.mark.parametrize(
    ("prompt", "opens"),
    [
        ("", False),
        ("<think>\n", True),
        ("Say <think> twice", False),
        ("<|im_start|>user\n<think>", False),
        ("<|im_start|>assistant\n<think>\nhm", True),
        ("<|im_start|>assistant\n<think>\nhm</think>\n\nyes", False),
        ("<|im_start|>assistant\n<think>\nhm<|im_end|>\n", False),
        ("<|im_start|>user\n</think><|im_end|>\n<|im_start|>assistant\n<think>\n", True),
    ],
)
def test_open_thoughts(prompt: str, opens: bool) -> None:
    assert opens_thinking(prompt) is opens


class TestHelpers:
    """What Hugging Face gives to templates."""

    def render(self, source: str, **variables: Any) -> str:
        return ChatTemplate(source).render(HELLO, **variables)

    def test_tojson_escapes_neither_html_nor_unicode(self) -> None:
        value = {"b": "<é&'>", "a": [1, None, True]}
        assert self.render("{{ x | tojson }}", x=value) == '{"b": "<é&\'>", "a": [1, null, true]}'

    def test_tojson_options(self) -> None:
        source = (
            "{{ x | tojson(indent=2) }}|{{ x | tojson(separators=(',', ':'), sort_keys=true) }}"
        )
        assert self.render(source, x={"b": 1, "a": [2]}) == (
            '{\n  "b": 1,\n  "a": [\n    2\n  ]\n}|{"a":[2],"b":1}'
        )
        assert self.render("{{ 'é' | tojson(ensure_ascii=true) }}") == '"\\u00e9"'

    def test_mappings_of_any_kind(self) -> None:
        arguments = MappingProxyType({"city": "Roma", "days": (1, 2)})
        assert self.render("{{ x | tojson }}", x=arguments) == '{"city": "Roma", "days": [1, 2]}'
        assert self.render("{{ x is mapping }}", x=arguments) == "True"

    def test_blocks_are_trimmed(self) -> None:
        assert self.render("a\n  {% if true %}\nb\n  {% endif %}\nc") == "a\nb\nc"

    def test_loop_controls(self) -> None:
        source = "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}"
        source += "{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}"
        assert self.render(source) == "02"

    def test_generation_blocks(self) -> None:
        assert self.render("a{% generation %}b{% set x = 1 %}{% endgeneration %}{{ x }}c") == "abc"

    def test_strftime_now(self) -> None:
        assert self.render("{{ strftime_now('%Y') }}") == str(datetime.now().year)

    def test_tools_and_documents_are_none_without_any(self) -> None:
        assert self.render("{{ tools is none }} {{ documents is none }}") == "True True"

    def test_loops_keep_their_variables(self) -> None:
        source = "{% for m in x %}{{ loop.index }}/{{ loop.length }}{{ loop.last }} {% endfor %}"
        assert self.render(source, x=["a", "b"]) == "1/2False 2/2True "
        source = "{% for m in x | select %}{{ loop.previtem }}{{ m }}{{ loop.last }} {% endfor %}"
        assert self.render(source, x=["a", "", "b"]) == "aFalse abTrue "

    def test_macros_recursion_and_namespaces(self) -> None:
        source = (
            "{% macro f(n) %}{{ n }}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}"
        )
        assert self.render(source) == "3210"
        source = "{% for a in x recursive %}({{ a.n }}{{ loop(a.c) }}){% endfor %}"
        assert self.render(source, x=[{"n": 1, "c": [{"n": 2, "c": []}]}]) == "(1(2))"

    def test_formatting(self) -> None:
        assert self.render("{{ '%s-%03d' % ('a', 7) }}{{ '{:>4}'.format(5) }}") == "a-007   5"
        assert self.render("{{ 'a,b' .split(',') | join('; ') }}{{ 'x' | indent(2, true) }}") == (
            "a; b  x"
        )


def test_the_callers_messages_are_out_of_reach() -> None:
    message = {"role": "user", "content": "hi", "tool_calls": [{"arguments": {"a": 1}}]}
    before = json.dumps(message)
    source = "{% set ns = namespace(m=messages[0]) %}{{ ns.m.tool_calls[0].arguments.a }}"
    assert ChatTemplate(source).render([message]) == "1"
    assert json.dumps(message) == before


def test_a_refusal_carries_its_message() -> None:
    refusing = ChatTemplate("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(TemplateError, match=r"refuses this conversation: roles must alternate\."):
        refusing.render(HELLO)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{% if x %}", "line 1"),
        ("a\n{% for %}", "line 2"),
        ("{{ x | nosuchfilter }}", "nosuchfilter"),
        ("{% for a in [1] %}" * 40 + "{% endfor %}" * 40, "does not compile"),
        ("{{ " + "(" * 100_000 + "1" + ")" * 100_000 + " }}", "without end"),
        ("x" * 10_000_000, "10,000,000 characters"),
    ],
)
def test_sources_that_do_not_compile(source: str, why: str) -> None:
    with pytest.raises(TemplateError, match=why):
        ChatTemplate(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ a.b.c }}",
        "{{ 1 + 'a' }}",
        "{{ 1 // 0 }}",
        "{{ messages[0].content.nope() }}",
        "{{ tools | length }}",
        "{% include 'other' %}",
        "{{ x | tojson }}",
    ],
)
def test_faults_while_rendering(source: str) -> None:
    compiled = ChatTemplate(source)
    with pytest.raises(TemplateError, match="cannot render this conversation"):
        compiled.render(HELLO)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__ }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''['__class__'] }}",
        "{{ (''|attr('__class__')).mro() }}",
        "{{ '{0.__class__.__mro__}'.format(1) }}",
        "{{ cycler.__init__.__globals__.os.system('id') }}",
        "{{ raise_exception.__globals__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'a': 1}) }}",
    ],
)
def test_python_is_out_of_reach(source: str) -> None:
    compiled = ChatTemplate(source)
    with pytest.raises(TemplateError):
        compiled.render(HELLO)


GROW = (
    "{% set n = namespace(s=(1,)) %}{% for i in range(60) %}{% set n.s = (n.s, n.s) %}{% endfor %}"
)
MEGA = "{% set s = 'a' * 2000000 %}{% for i in range(100000) %}"

ATTACKS = {
    "nested loops": "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
    "filtered loops": (
        "{% for a in range(9999) %}{% for b in range(99999) if b < 0 %}{% endfor %}{% endfor %}"
    ),
    "lazy filters": (
        "{% for a in range(999) %}{% for b in range(9999)|select('lt', 0) %}{% endfor %}"
        "{% endfor %}"
    ),
    "long literal text": "{% for a in range(99999) %}" + "x" * 200_000 + "{% endfor %}",
    "literal text in a macro": (
        "{% macro f() %}" + "x" * 200_000 + "{% endmacro %}"
        "{% for a in range(99999) %}{% set b = f() %}{% endfor %}"
    ),
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "recursion as a tree": (
        "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(99) }}"
    ),
    "recursive loop": (
        "{% for x in [1] recursive %}{% if loop.depth < 99 %}{{ loop([1, 1]) }}{% endif %}"
        "{% endfor %}"
    ),
    "recursive block": "{% block a %}{{ self.a() }}{% endblock %}",
    "long string": "{{ 'a' * 10 ** 12 }}",
    "long list": "{{ ([1] * 10 ** 9) | length }}",
    "large number": "{{ 10 ** (10 ** 9) }}",
    "growing number": (
        "{% set n = namespace(x=3) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}"
    ),
    "doubling by +": (
        "{% set n = namespace(s='a') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}"
        "{% endfor %}"
    ),
    "doubling by ~": (
        "{% set n = namespace(s='a') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}"
        "{% endfor %}"
    ),
    "printing shared parts": GROW + "{{ n.s }}",
    "shared parts as JSON": GROW + "{{ n.s | tojson }}",
    "shared parts as text": GROW + "{{ n.s | upper | length }}",
    "comparing shared parts": GROW + "{% set m = n.s %}" + GROW + "{{ m == n.s }}",
    "hashing shared parts": GROW + "{{ {n.s: 1} | length }}",
    "looking up shared parts": GROW + "{{ {1: 1}.get(n.s) }}{{ {1: 1}[n.s] }}",
    "sorting shared parts": GROW + "{{ [n.s, n.s] | sort | length }}",
    "join": "{{ (['a' * 1000000] * 1000) | join('a' * 1000000) | length }}",
    "join of a generator": "{% set s = 'a' * 1000000 %}{{ s.join(range(99999) | map('string')) }}",
    "replace": "{{ ('a' * 1000000).replace('a', 'b' * 1000000) | length }}",
    "replace filter": "{{ ('a' * 1000000) | replace('a', 'b' * 1000000) | length }}",
    "center": "{{ 'x' | center(10 ** 10) }}",
    "constant center": "{{ 'x' | center(10000000000) }}",
    "ljust": "{{ 'x'.ljust(10 ** 10) }}",
    "width in a format": "{{ '{:>10000000000}'.format(1) }}",
    "width of a format": "{{ '{:>{w}}'.format(1, w=10 ** 10) }}",
    "width in a %": "{{ '%10000000000d' % 1 }}",
    "width of a %": "{{ '%*d' % (10 ** 10, 1) }}",
    "repeated field": "{{ ('%(a)s' * 100000) % {'a': 'x' * 1000000} }}",
    "indent": "{{ ('a\n' * 100000) | indent(100000) }}",
    "JSON indent": "{{ ([[1]] * 10000) | tojson(indent=1000000) }}",
    "batch": "{{ [1] | batch(10 ** 9, 0) | list }}",
    "slice": "{{ [1] | slice(10 ** 9) | list }}",
    "round": "{{ 1.5 | round(10 ** 9, 'ceil') }}",
    "copies by slicing": MEGA + "{% set t = s[1:] %}{% endfor %}",
    "searching": MEGA + "{% if 'b' in s %}{% endif %}{% endfor %}",
    "upper": MEGA + "{% set t = s | upper %}{% endfor %}",
    "split": MEGA + "{% set t = s.split('a') %}{% endfor %}",
    "wordwrap": MEGA + "{% set t = s | wordwrap(1) %}{% endfor %}",
    "sum of lists": "{{ ([[1] * 1000] * 300) | sum(start=[]) | length }}" * 20,
    "expandtabs": "{{ '\t'.expandtabs(10 ** 9) }}",
    "to_bytes": "{{ (5).to_bytes(10 ** 9, 'big') }}",
    "long range": "{{ range(10 ** 9) | list }}",
    "lipsum": "{{ lipsum(100000) }}",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_hostile_templates_end(name: str) -> None:
    started = time.process_time()
    with pytest.raises(TemplateError):
        ChatTemplate(ATTACKS[name]).render(HELLO)
    assert time.process_time() - started < 2.0


def test_a_spent_budget_is_the_renders_own() -> None:
    looping = ChatTemplate(ATTACKS["nested loops"])
    plain = ChatTemplate("{% for m in messages %}{{ m.content }}{% endfor %}")
    failures: list[TemplateError] = []
    texts: list[str] = []

    def attack() -> None:
        for _ in range(5):
            try:
                looping.render(HELLO)
            except TemplateError as error:
                failures.append(error)

    def chat() -> None:
        texts.extend(plain.render(HELLO * 50) for _ in range(50))

    threads = [threading.Thread(target=target) for target in (attack, chat, attack, chat)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) == 10
    assert texts == ["hi" * 50] * 100


@pytest.mark.parametrize("name", ["Qwen3.jinja", "Qwen3-Coder.jinja", "Qwen3-Thinking-2507.jinja"])
def test_long_conversations_fit_the_budget(name: str) -> None:
    call = {"function": {"name": "f", "arguments": {"path": "x" * 50, "n": 3}}}
    turn = [
        {"role": "user", "content": "word " * 200},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\n", "tool_calls": [call, call]},
        {"role": "tool", "content": "result " * 200},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\n" + "word " * 200},
    ]
    tool = {"name": "f", "parameters": {"properties": {"path": {"type": "string"}}}}
    tools = [{"type": "function", "function": tool}] * 100
    text = template(name).render([*(turn * 500), HELLO[0]], tools=tools)
    assert text.count("<|im_start|>") > 2000
    long = template(name).render([{"role": "user", "content": "word " * 2_000_000}])
    assert len(long) > 10_000_000
