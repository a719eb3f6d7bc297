"""The transcript in a running app: following, place, folding, selection, hostile text."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from textual.app import App, ComposeResult
from textual.events import MouseScrollUp
from textual.pilot import Pilot

from tui.widgets.transcript import MessageView, Role, Transcript

LOREM = "lorem ipsum dolor sit amet consectetur adipiscing elit "


class Host(App[None]):
    """A transcript and a record of what it says."""

    def __init__(self) -> None:
        super().__init__()
        self.follows: list[tuple[bool, int]] = []
        self.clicks: list[tuple[int, int, str]] = []

    def compose(self) -> ComposeResult:
        yield Transcript()

    def on_transcript_follow_changed(self, event: Transcript.FollowChanged) -> None:
        self.follows.append((event.following, event.new_lines))

    def on_transcript_code_clicked(self, event: Transcript.CodeClicked) -> None:
        self.clicks.append((event.key, event.number, event.code))

    @property
    def transcript(self) -> Transcript:
        return self.query_one(Transcript)

    def rows(self) -> list[str]:
        height = self.transcript.size.height
        return [self.transcript.render_line(y).text.rstrip() for y in range(height)]


async def until(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return
        await pilot.pause(0.01)
    raise AssertionError("it never came true")


def chat(count: int) -> list[MessageView]:
    return [
        MessageView(
            "assistant" if i % 2 else "user",
            f"message {i}\n\n" + LOREM * (i * 7 % 13),
            header="Qwen" if i % 2 else "You",
        )
        for i in range(count)
    ]


async def test_a_long_chat_opens_at_its_end_and_renders_only_what_is_seen() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        keys = app.transcript.set_messages(chat(10_000))
        await pilot.pause()
        assert len(keys) == 10_000
        assert any("message 9999" in row for row in app.rows())
        assert app.transcript.following
        assert len(app.transcript.heights.laid_out) < 30


async def test_paging_up_moves_every_line_by_the_same_amount() -> None:
    app = Host()
    async with app.run_test(size=(80, 24)) as pilot:
        app.transcript.set_messages(chat(300))
        await pilot.pause()
        app.transcript.focus()
        for _ in range(12):
            before = app.rows()
            app.transcript.scroll_to(y=app.transcript.scroll_y - 5)
            await pilot.pause()
            assert app.rows()[5:] == before[:-5]
        await pilot.press("pageup")
        await until(pilot, lambda: not app.transcript.following)
        assert app.follows[-1] == (False, 0)


async def test_home_reaches_the_first_line_and_end_follows_again() -> None:
    app = Host()
    async with app.run_test(size=(60, 20)) as pilot:
        app.transcript.set_messages(chat(200))
        await pilot.pause()
        app.transcript.focus()
        await pilot.press("home")
        await until(pilot, lambda: app.rows()[0].strip() == "You")
        assert app.rows()[1].strip() == "message 0"
        await pilot.press("end")
        await until(pilot, lambda: any("message 199" in row for row in app.rows()))
        assert app.transcript.following


async def test_output_is_followed_until_somebody_scrolls_up() -> None:
    app = Host()
    async with app.run_test(size=(60, 20)) as pilot:
        transcript = app.transcript
        transcript.set_messages(chat(20))
        key = transcript.append(MessageView("assistant", header="Qwen", state="streaming"))
        transcript.stream_text(key, "begin\n\n" + LOREM * 20 + "\n\nfirst end")
        await until(pilot, lambda: any("first end" in row for row in app.rows()))
        transcript.focus()
        await pilot.press("up")
        await until(pilot, lambda: not transcript.following)
        before = app.rows()
        transcript.stream_text(key, "\n\n" + LOREM * 20 + "\n\n- a\n- b\n\nsecond end")
        await until(pilot, lambda: transcript.new_lines > 10)
        assert app.rows()[:17] == before[:17]
        transcript.finish(key, header="Qwen · 5 tok/s")
        await pilot.pause(0.1)
        assert app.rows()[:17] == before[:17]
        assert app.follows[-1] == (False, transcript.new_lines)
        transcript.follow()
        await until(pilot, lambda: any("second end" in row for row in app.rows()))
        assert transcript.following
        assert transcript.new_lines == 0


async def test_the_wheel_unfollows_and_refollows_at_the_bottom() -> None:
    app = Host()
    async with app.run_test(size=(60, 20)) as pilot:
        app.transcript.set_messages(chat(20))
        await pilot.pause()
        app.transcript.post_message(
            MouseScrollUp(app.transcript, 5, 5, 0, -1, 0, False, False, False)
        )
        await until(pilot, lambda: not app.transcript.following)
        app.transcript.scroll_to(y=app.transcript.max_scroll_y)
        await until(pilot, lambda: app.transcript.following)


@pytest.mark.parametrize("width", [40, 100])
async def test_a_resize_keeps_the_top_message(width: int) -> None:
    app = Host()
    async with app.run_test(size=(70, 20)) as pilot:
        transcript = app.transcript
        transcript.set_messages(chat(100))
        await pilot.pause()
        transcript.scroll_to(y=300)
        await pilot.pause()
        heights = transcript.heights
        index, _ = heights.at(round(transcript.scroll_y))
        await pilot.resize_terminal(width, 20)
        await until(pilot, lambda: transcript.size.width == width)
        assert heights.at(round(transcript.scroll_y))[0] == index
        assert not transcript.following


async def test_a_resize_at_the_end_stays_at_the_end() -> None:
    app = Host()
    async with app.run_test(size=(70, 20)) as pilot:
        app.transcript.set_messages(chat(100))
        await pilot.resize_terminal(35, 12)
        await until(pilot, lambda: app.transcript.size.width == 35)
        await pilot.pause()
        assert app.transcript.following
        assert app.transcript.scroll_y == app.transcript.max_scroll_y
        assert any("elit" in row for row in app.rows())


async def test_thinking_streams_folds_and_unfolds() -> None:
    app = Host()
    async with app.run_test(size=(60, 20)) as pilot:
        transcript = app.transcript
        key = transcript.append(MessageView("assistant", header="Qwen", state="streaming"))
        transcript.stream_thinking(key, "\n".join(f"thought {i}" for i in range(30)))
        transcript.update_header(key, thinking_seconds=2.1)
        await until(pilot, lambda: any("▾ thinking… 2.1 s" in row for row in app.rows()))
        assert any("thought 29" in row for row in app.rows())
        assert not any("thought 9" in row for row in app.rows())
        transcript.stream_text(key, "The answer")
        transcript.finish(key, thinking_seconds=3.1, thinking_tokens=412)
        await until(pilot, lambda: any("▸ thought 3.1 s (412 tok)" in row for row in app.rows()))
        assert not any("thought 29" in row for row in app.rows())
        await pilot.click(Transcript, offset=(5, 1))
        await until(pilot, lambda: any("thought 29" in row for row in app.rows()))
        transcript.toggle_thinking()
        await until(pilot, lambda: not any("thought 29" in row for row in app.rows()))
        assert transcript.view(key).thinking.endswith("thought 29")


async def test_states_headers_and_siblings() -> None:
    app = Host()
    async with app.run_test(size=(60, 20)) as pilot:
        app.transcript.set_messages(
            [
                MessageView("user", "hi", header="You", sibling=(2, 3)),
                MessageView("assistant", "par", header="Qwen", state="stopped"),
                MessageView("assistant", "t", header="Q", state="error", detail="No memory."),
                MessageView("assistant", "t", header="Q", state="interrupted"),
            ]
        )
        await pilot.pause()
        shown = app.rows()
        assert shown[0].split() == ["You", "\u20392/3\u203a"]
        assert len(shown[0]) > 50
        for mark in ("■ stopped", "✗ error: No memory.", "⚡ interrupted"):
            assert any(row.strip() == mark for row in shown)


HOSTILE = (
    "\x1b]8;;http://evil\x1b\\x\x1b]8;;\x1b\\ \x1b[2J \x9b31m \x07 \x1b_apc\x1b\\ &#x202e; "
    "[red]r[/] [@click=app.quit]q[/] [l](http://x) \u202erlo"
)


@pytest.mark.parametrize("role", ["user", "assistant", "note"])
async def test_hostile_text_is_shown_and_does_nothing(role: Role) -> None:
    app = Host()
    async with app.run_test(size=(200, 20)) as pilot:
        view = MessageView(
            role,
            HOSTILE,
            header=HOSTILE,
            thinking=HOSTILE,
            state="error",
            detail=HOSTILE,
        )
        app.transcript.set_messages([view])
        app.transcript.toggle_thinking()
        await pilot.pause()
        for y in range(20):
            for segment in app.transcript.render_line(y):
                assert segment.text.isprintable()
                assert segment.control is None
                assert segment.style is not None
                assert segment.style.link is None
                assert set(segment.style.meta) <= {"offset"}
        text = "\n".join(app.rows())
        assert "[red]r[/] [@click=app.quit]q[/]" in text
        assert "␛" in text
        for y in range(6):
            await pilot.click(Transcript, offset=(60, y))
        assert app.is_running


async def test_selecting_with_the_mouse_copies_text_without_frames() -> None:
    app = Host()
    async with app.run_test(size=(40, 20)) as pilot:
        prose = "one two three four five six seven eight nine ten"
        text = f"{prose}\n\n```py\na = 1\n\nb = 2\n```\n\n> end"
        app.transcript.set_messages([MessageView("assistant", text, header="Qwen")])
        await pilot.pause()
        last = max(y for y, row in enumerate(app.rows()) if row)
        await pilot.mouse_down(Transcript, offset=(7, 1))
        await pilot.hover(Transcript, offset=(10, 5))
        await pilot.hover(Transcript, offset=(7, last))
        await pilot.mouse_up(Transcript, offset=(7, last))
        await until(pilot, lambda: bool(app.screen.selections))
        assert app.screen.get_selected_text() == (
            "two three four five six seven eight nine ten\n\na = 1\n\nb = 2\n\nend"
        )


async def test_two_clicks_select_a_word_and_three_the_message() -> None:
    app = Host()
    async with app.run_test(size=(40, 12)) as pilot:
        app.transcript.set_messages(
            [MessageView("user", "日本 hello world", header="You"), MessageView("user", "other")]
        )
        await pilot.pause()
        await pilot.click(Transcript, offset=(9, 1), times=2)
        assert app.screen.get_selected_text() == "hello"
        await pilot.click(Transcript, offset=(9, 1), times=3)
        assert app.screen.get_selected_text() == "You\n日本 hello world"


async def test_everything_selected_is_copied_without_rendering_it() -> None:
    app = Host()
    async with app.run_test(size=(40, 12)) as pilot:
        transcript = app.transcript
        transcript.set_messages(chat(2000))
        await pilot.pause()
        transcript.text_select_all()
        copied = app.screen.get_selected_text()
        assert copied is not None
        assert all(f"message {i}\n" in copied for i in range(2000))
        assert len(transcript.heights.laid_out) < 30


async def test_clicking_a_code_label_asks_for_a_copy() -> None:
    app = Host()
    async with app.run_test(size=(60, 20)) as pilot:
        text = "a\n\n```\nfirst\n```\n\n```py\nx = 1\n```\n"
        keys = app.transcript.set_messages([MessageView("assistant", text, header="Qwen")])
        await pilot.pause()
        row = next(y for y, text in enumerate(app.rows()) if "[2]" in text)
        await pilot.click(Transcript, offset=(50, row))
        await until(pilot, lambda: bool(app.clicks))
        assert app.clicks == [(keys[0], 2, "x = 1")]
        assert app.transcript.code_block(keys[0], 1) == "first"
        with pytest.raises(IndexError):
            app.transcript.code_block(keys[0], 3)


async def test_messages_can_be_removed_and_replaced() -> None:
    app = Host()
    async with app.run_test(size=(60, 20)) as pilot:
        transcript = app.transcript
        keys = transcript.set_messages(chat(10))
        transcript.remove_from(keys[4])
        await pilot.pause()
        assert list(transcript.keys) == keys[:4]
        assert transcript.append(MessageView("user", "new")) == keys[4]
        with pytest.raises(KeyError):
            transcript.stream_text(keys[6], "x")
        transcript.clear()
        await pilot.pause()
        assert not any(app.rows())


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light", "ansi-dark"])
async def test_themes_change_colours_and_nothing_else(theme: str) -> None:
    app = Host()
    async with app.run_test(size=(60, 20)) as pilot:
        text = "# h\n\n`c` **b**\n\n```py\nimport os\n```"
        app.transcript.set_messages([MessageView("assistant", text, header="Qwen · 1")])
        await pilot.pause()
        app.theme = "nord"
        await pilot.pause()
        rows = app.rows()
        nord = [[segment.style for segment in app.transcript.render_line(y)] for y in range(9)]
        app.theme = theme
        await pilot.pause()
        assert app.rows() == rows
        now = [[segment.style for segment in app.transcript.render_line(y)] for y in range(9)]
        assert now != nord


async def test_a_hidden_transcript_streams_and_shows_all_when_shown() -> None:
    app = Host()
    async with app.run_test(size=(60, 20)) as pilot:
        transcript = app.transcript
        transcript.display = False
        await pilot.pause()
        key = transcript.append(MessageView("assistant", header="Qwen", state="streaming"))
        transcript.stream_text(key, LOREM * 30 + "\n\nend of it")
        await pilot.pause(0.1)
        transcript.display = True
        await until(pilot, lambda: any("end of it" in row for row in app.rows()))


async def test_a_marked_message_is_brought_into_view() -> None:
    app = Host()
    async with app.run_test(size=(60, 20)) as pilot:
        keys = app.transcript.set_messages(chat(100))
        await pilot.pause()
        app.transcript.highlight(keys[10])
        await until(pilot, lambda: any("message 10" in row for row in app.rows()))
        assert [row for row in app.rows() if row.startswith("┃")]
        app.transcript.highlight(None)
        await pilot.pause()
        assert not [row for row in app.rows() if row.startswith("┃")]
