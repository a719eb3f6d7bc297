"""What is tuned, named and told of a conversation: by slash command, in words."""

from __future__ import annotations

import pytest

from mlxqwen.errors import UsageError
from tui import adjust, words
from tui.answer import Answer
from tui.figures import figure_rows, figures
from tui.records import Attachment, Conversation, Message
from tui.screens.picker import Picker
from tui.screens.text import TextScreen
from tui.settings import SAMPLING, Settings
from tui.tuning import asked, set_rows, think_of, value_of
from tui.views import message_view


@pytest.fixture
def command(run_chat):
    """``async with command() as (chat, do)``: ``await do("/set seed 3")`` → what was said."""
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def run(**options):
        async with run_chat(**options) as chat:

            async def do(line):
                before = len(notices(chat))
                shown = chat.app.screen
                await chat.type(line)
                await chat.pilot.press("enter")
                await chat.until(
                    lambda: len(notices(chat)) > before or chat.app.screen is not shown
                )
                return notices(chat)[before:]

            yield chat, do

    return run


def notices(chat):
    return [notification.message for notification in chat.app._notifications]


def page(chat):
    """Title and text of the page that is open; closes it."""
    screen = chat.app.screen
    assert isinstance(screen, TextScreen)
    screen.dismiss(None)
    return screen._title, screen._text


async def test_sampling_by_command(command):
    async with command() as (chat, do):
        assert await do("/set temperature 0,7") == ["temperature is 0.7 from the next answer on."]
        assert await do("/set SEED 3") == ["seed is 3 from the next answer on."]
        await chat.ask("hello")
        assert chat.session.conversation.params == {"temperature": 0.7, "seed": 3}
        (answer,) = [m for m in chat.session.branch if m.role == "assistant"]
        stored = chat.app._archive._store.message(answer.id)
        assert (stored.seed, stored.params) == (3, {"temperature": 0.7, "seed": 3})
        assert await do("/set temperature") == ["temperature: 0.7  (this chat)"]
        assert await do("/set temperature -") == ["temperature is as before again."]
        assert chat.session.conversation.params == {"seed": 3}
        assert "between 0 and 1" in (await do("/set top_p 2"))[0]
        assert "whole number" in (await do("/set top_k much"))[0]
        assert "They are: temperature" in (await do("/set heat 3"))[0]
        assert "They are: temperature" in (await do("/set heat -"))[0]
        assert chat.session.conversation.params == {"seed": 3}
        await do("/set")
        title, text = page(chat)
        assert title == "Sampling"
        assert "seed         3  (this chat)" in text
        assert "top_p        the model’s own" in text


async def test_a_system_prompt_by_command(command):
    async with command() as (chat, do):
        assert "has no system prompt" in (await do("/system"))[0]
        await do("/system Answer in [b]rhyme[/b].")
        await chat.ask("history")
        assert chat.shown[1][1].strip() == "Answer in [b]rhyme[/b]./history"
        await do("/system")
        assert page(chat)[1].startswith("Answer in [b]rhyme[/b].\n\n")
        assert await do("/system -") == ["The system prompt is gone."]
        assert chat.session.conversation.system == ""


async def test_personas_by_command(command):
    async with command() as (chat, do):
        assert "no personas yet" in (await do("/persona"))[0]
        assert "neither system prompt" in (await do("/persona save Poet"))[0]
        await do("/system Rhyme.")
        assert "Poet is saved" in (await do("/persona save Poet"))[0]
        await chat.session.new()
        assert await do("/persona poet") == ["Poet answers from now on."]
        assert chat.session.system == "Rhyme."
        await chat.session.new()
        await do("/persona")
        assert isinstance(chat.app.screen, Picker)
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.session.system == "Rhyme.")
        assert "no persona called" in (await do("/persona nobody"))[0]
        assert "Poet is removed" in (await do("/persona rm poet"))[0].replace("poet", "Poet")
        assert "no persona called" in (await do("/persona rm poet"))[0]


async def test_thinking_by_command(command):
    async with command() as (chat, do):
        assert await do("/think") == ["Whether to think is left to the model."]
        assert await do("/think on") == ["The model thinks before it answers."]
        assert chat.session.params["think"] is True
        assert await do("/think 512") == ["The model thinks for up to 512 tokens."]
        assert await do("/think off") == ["The model answers without thinking."]
        await chat.ask("hello")
        stored = chat.app._archive._store.message(chat.session.branch[-1].id)
        assert stored.params["think"] is False
        assert await do("/think auto") == ["Whether to think is left to the model."]
        assert "It takes on, off" in (await do("/think hard"))[0]
        assert await do("/think hide") == ["Thoughts are out of sight."]
        assert not chat.app.settings.thoughts
        assert await do("/think show") == ["Thoughts are shown."]
        assert chat.app.settings.thoughts


async def test_a_chat_is_renamed_pinned_forked_deleted_and_brought_back(command):
    async with command() as (chat, do):
        for line in ("/rename x", "/pin", "/delete", "/fork"):
            assert await do(line) == ["This chat is still empty."]
        assert await do("/undo") == ["There is no deleted chat to bring back."]
        await chat.ask("first")
        assert await do("/rename  Sky and sea ") == ["The chat is now called Sky and sea."]
        assert await do("/pin") == ["The chat stays at the top."]
        assert await do("/pin") == ["The chat no longer stays at the top."]
        assert await do("/fork") == ["You are in a copy now: Sky and sea (2)."]
        assert chat.session.conversation.id == 2
        assert [text.strip() for _, text, _ in chat.shown] == ["first", "You said: **first**"]
        assert "/undo brings it back" in (await do("/delete"))[0]
        assert chat.shown == []
        assert await do("/undo") == ["Sky and sea (2) is back."]
        assert chat.session.conversation.id == 2


async def test_another_answer_and_a_continued_one_by_command(command):
    async with command() as (chat, _):
        await chat.ask("history")
        await chat.type("/regen")
        await chat.pilot.press("enter")
        await chat.until(lambda: len(chat.app._archive._store.siblings(2)) == 2)
        await chat.ended(2)
        await chat.type("/continue")
        await chat.pilot.press("enter")
        await chat.until(lambda: len(chat.app._archive._store.siblings(2)) == 3)
        await chat.ended(2)
        text = chat.session.branch[-1].text
        assert text.startswith("history You said: **Your last answer was cut off.")
        assert chat.views[1].sibling == (3, 3)
        assert chat.stored() == chat.shown


async def test_the_figures_of_a_branch(command):
    async with command() as (chat, do):
        await chat.ask("one")
        await chat.ask("two")
        found = figures(chat.session)
        assert (found.messages, found.answers, found.written) == (4, 2, 6)
        assert found.used == chat.session.context_used > 0
        assert (found.context, found.memory, found.model) == (4096, 3_900_000, "guide")
        assert found.seconds == pytest.approx(2.4)
        assert found.rate == pytest.approx(2.0)
        await do("/stats")
        title, text = page(chat)
        assert title == "Figures"
        assert "of 4k" in text
        assert "2.0 tok/s" in text


async def test_a_page_closes_by_esc_and_has_no_markup(command):
    async with command() as (chat, do):
        await do("/system [red]not red[/] \x1b[31m")
        await do("/system")
        assert isinstance(chat.app.screen, TextScreen)
        await chat.pilot.press("escape")
        await chat.until(lambda: not isinstance(chat.app.screen, TextScreen))


async def test_a_read_only_instance_says_why_nothing_is_kept(command, run_chat, tmp_path):
    from tui.store import Store

    holder = Store.open(tmp_path / "conversations.sqlite3")
    conversation = holder.create(title="held")
    user = holder.add_user(conversation.id, None, "q")
    holder.finish(holder.start_answer(1, user.id, model="guide").id, "done", "a", "")
    async with command() as (chat, do):
        await chat.app._chat.open(1)
        for line in ("/rename x", "/pin", "/delete", "/system x", "/set seed 1", "/fork"):
            assert "read-only" in (await do(line))[0]
        assert holder.conversation(1).title == "held"
    holder.close()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("temperature", "0", 0.0), ("top_k", "40", 40), ("seed", "7", 7), ("max_tokens", "1", 1)],
)
def test_values(name, text, value):
    assert value_of(name, text) == value
    assert type(value_of(name, text)) is SAMPLING[name]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("temperature", "inf"),
        ("temperature", "nan"),
        ("temperature", "-1"),
        ("seed", str(2**63)),
        ("seed", "-1"),
        ("seed", "1.5"),
        ("max_tokens", "0"),
        ("max_tokens", "1" + "0" * 400),
        ("top_k", "9" * 5000),
        ("top_k", ""),
        ("nothing", "1"),
    ],
)
def test_values_out_of_range(name, text):
    with pytest.raises(UsageError):
        value_of(name, text)


@pytest.mark.parametrize("text", ["0", "-1", "10000001", "9" * 5000, "٣", "perhaps"])
def test_budgets_that_are_none(text):
    with pytest.raises(UsageError):
        think_of(text)


def test_what_is_asked_comes_from_chat_settings_and_chance():
    settings = Settings(think="on", sampling={"temperature": 0.5, "max_tokens": 9})
    first = asked(settings, {"temperature": 0.1, "unknown": 3})
    assert first.sampling["temperature"] == 0.1
    assert (first.think, first.max_tokens) == (True, 9)
    assert set(first.sampling) == {"temperature", "seed"}
    assert first.seed != asked(settings, {}).seed
    assert asked(settings, {"think": "auto"}).think is None
    assert asked(settings, {"think": 300}).think == 300
    assert asked(Settings(), {}).think is None
    rows = set_rows(settings, {"seed": 3})
    assert rows[0] == ("temperature", "0.5  (settings)")
    assert ("seed", "3  (this chat)") in rows
    assert think_of("2048") == 2048
    for wrong in ("", "0", "-3", "²", "99999999", "yes"):
        with pytest.raises(UsageError):
            think_of(wrong)


@pytest.mark.parametrize(
    ("before", "after", "whole"),
    [
        ("the memory", "of", "the memory of"),
        ("the memory ", "of", "the memory of"),
        ("the memory", " of", "the memory of"),
        ("天空", "是", "天空是"),
        ("(see", ")", "(see)"),
        ("First, ", "then", "First, then"),
        ("Done.", "Next", "Done. Next"),
    ],
)
def test_an_answer_that_goes_on_from_another(before, after, whole):
    from mlxqwen.engine.events import Text

    answer = Answer(1, 2, "guide", [])
    answer.go_on_from(before, "thought")
    shown = answer.take(Text(after))
    assert before + shown.text == answer.text == whole
    answer.take(Text("s"))
    assert answer.text == whole + "s"
    assert (answer.thinking, answer.pieces) == ("thought", 2)


def test_attached_text_is_not_the_question_and_what_was_cut_off_says_how_to_go_on():
    def message(role, state="done", **more):
        plain = (None, None, None, None, None, None, 0.0)
        return Message(1, 1, None, role, "text", "", state, "", "guide", *plain, **more)

    user = message_view(message("user", attachments=(Attachment("a.txt", "secret"),)))
    assert user.text == "text"
    assert user.header == "You"
    assert "/continue" in message_view(message("assistant", "interrupted")).detail
    assert message_view(message("assistant", "stopped")).detail == ""


def test_every_command_is_in_the_table():
    from tui.actions.carry_out import HANDLERS
    from tui.actions.table import BY_NAME

    assert set(adjust.COMMANDS) <= set(BY_NAME)
    assert set(adjust.COMMANDS) | {"regenerate", "continue", "edit"} <= set(HANDLERS)


class Nothing:
    """A session of which nothing is known yet."""

    branch = ()
    loaded = None
    context_used = 0
    model = ""
    conversation: Conversation | None = None


def test_figures_of_nothing_in_italian():
    words.use("it")
    try:
        rows = dict(figure_rows(figures(Nothing())))
    finally:
        words.use("en")
    assert rows["Velocità"] == rows["Modello"] == "ancora ignoto"
    assert rows["Risposte"] == "0"
