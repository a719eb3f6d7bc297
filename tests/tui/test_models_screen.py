"""The page of models, worked by its keys; children are real where that does not take long."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from hashlib import sha256

import pytest
from rich.cells import cell_len
from textual.widgets import Input, OptionList, Static

from mlxqwen.hub.library import LocalModel
from mlxqwen.hub.places import guide_folder
from tui import words
from tui.job import Job, Task
from tui.job_events import Failure, Progress, Verified
from tui.job_words import notice, summary
from tui.jobs import Jobs
from tui.screens import models_facts
from tui.screens.models import ModelsScreen
from tui.screens.models_confirm import Confirm
from tui.screens.models_details import details
from tui.screens.models_facts import Facts, Here, Typed, gather, preselected, refusal
from tui.screens.models_info import Details
from tui.screens.models_list import ModelList
from tui.screens.models_orders import Quantising
from tui.screens.models_quantise import QuantiseDialog
from tui.screens.models_rows import heading, job_line, paint, row_name, sections
from tui.widgets.cycle import Cycle

NAME = "mlx-community/Qwen3-0.6B-4bit"
HOSTILE = "evil\x1b[31m\u202ename[/]"


@pytest.fixture
def own(tmp_path, monkeypatch, home):
    """A data folder with one real model in it, and nothing else on the machine."""
    folder = tmp_path / "own"
    (folder / "models").mkdir(parents=True)
    for file in (home / "models" / "tiny").iterdir():
        target = folder / "models" / "tiny" / file.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(file.read_bytes())
    monkeypatch.setenv("MLXQWEN_HOME", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return folder


@pytest.fixture
def models(own):
    """What is really in that folder, in place of the models that other tests make up."""


@pytest.fixture
def facts(own, monkeypatch):
    """What ``gather`` finds, with a memory that is the same everywhere."""
    monkeypatch.setattr(models_facts, "memory_budget", lambda: 16_000_000_000)
    monkeypatch.setattr(models_facts, "total_memory", lambda: 24_000_000_000)
    return gather(8192)


def page(chat):
    return chat.app.screen


async def opened(chat, *, looked=True):
    await chat.pilot.press("ctrl+l")
    await chat.until(lambda: isinstance(page(chat), ModelsScreen))
    if looked:
        await chat.until(lambda: page(chat)._facts is not None)
        await chat.pilot.pause()
    return page(chat)


async def at(chat, name):
    """Put the cursor on the row called ``name``."""
    screen = page(chat)
    await chat.until(lambda: name in screen._list._rows)
    screen._list.go_to(name)
    await chat.pilot.pause()


def texts(screen):
    return [str(option.prompt) for option in screen._list.options]


def files_of(folder):
    return {file.name: sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


async def test_it_lists_what_is_here_and_enter_uses_it(run_chat, own):
    async with run_chat() as chat:
        screen = await opened(chat)
        here = [text for text in texts(screen) if "tiny" in text]
        assert len(here) == 1
        assert " kB " in here[0] or " MB " in here[0]
        assert here[0].rstrip().endswith("✓")
        await chat.pilot.press("slash")
        await chat.type("tin")
        await chat.pilot.press("enter")
        await chat.until(lambda: not isinstance(page(chat), ModelsScreen))
        assert chat.session.model == "tiny"


async def test_released_models_say_whether_they_fit_at_the_context(run_chat, own, monkeypatch):
    monkeypatch.setattr(models_facts, "memory_budget", lambda: 16_000_000_000)
    async with run_chat(size=(120, 40)) as chat:
        screen = await opened(chat)

        def row():
            return next(text for text in texts(screen) if text.strip().startswith("qwen3-4b "))

        assert "2.3 GB" in row()
        assert row().rstrip().endswith("✓")
        for _ in range(2):
            await chat.pilot.press("right")
        await chat.until(lambda: screen._facts.context == 131_072)
        await chat.until(lambda: row().rstrip().endswith("✗"))
        await at(chat, "known:qwen3-4b")
        shown = str(screen.query_one("#models-detail Static", Static).content)
        assert "Qwen/Qwen3-4B" in shown
        assert "does not fit" in shown


async def test_a_name_after_the_command_is_used_at_once(run_chat, own):
    async with run_chat() as chat:
        chat.app._chat.action_do("models", "TINY")
        await chat.until(lambda: chat.session.model == "tiny")
        chat.app._chat.action_do("models", str(own / "models" / "tiny"))
        await chat.pilot.pause(0.1)
        assert chat.session.model == "tiny"
        chat.app._chat.action_do("models", "nothing-like-it")
        await chat.until(lambda: chat.app._notifications)
        assert chat.session.model == "tiny"


async def test_removing_asks_and_the_cursor_is_on_no(run_chat, own):
    folder = own / "models" / "tiny"
    async with run_chat() as chat:
        screen = await opened(chat)
        await at(chat, "here:tiny")
        await chat.pilot.press("x")
        await chat.until(lambda: isinstance(page(chat), Confirm))
        await chat.pilot.press("enter")  # the cursor is on "keep"
        await chat.until(lambda: page(chat) is screen)
        assert folder.is_dir()
        await chat.pilot.press("x")
        await chat.until(lambda: isinstance(page(chat), Confirm))
        await chat.pilot.press("up", "enter")
        await chat.until(lambda: not folder.exists())
        await chat.until(lambda: "here:tiny" not in screen._list._rows)


async def test_the_built_in_model_and_the_one_in_use_stay(run_chat, own):
    async with run_chat() as chat:
        await opened(chat)
        await at(chat, "here:guide")
        await chat.pilot.press("x")
        await chat.until(lambda: chat.app._notifications)
        assert isinstance(page(chat), ModelsScreen)
        assert guide_folder().is_dir()


async def test_quantising_from_the_page_then_using_the_result(run_chat, own):
    async with run_chat(size=(100, 40)) as chat:
        screen = await opened(chat)
        await at(chat, "here:tiny")
        await chat.pilot.press("q")
        await chat.until(lambda: isinstance(page(chat), QuantiseDialog))
        dialog = page(chat)
        plan = dialog.query_one("#quantise-plan", Static)
        await chat.until(lambda: "bits per weight" in str(plan.content), 60)
        assert "embed_tokens" in str(plan.content)
        await chat.pilot.press("right")
        assert dialog.query_one("#way", Cycle).value == "fast"
        await chat.pilot.press("enter")
        await chat.until(lambda: page(chat) is screen)
        (job,) = chat.app._chat.jobs.listed
        assert job.task.arguments == ("tiny", "--recipe", "fast")
        assert not job.task.network
        await chat.until(lambda: job.state == "done", 60)
        await chat.until(lambda: "here:tiny-4bit" in screen._list._rows)
        assert any("tiny-4bit is quantised" in one.message for one in chat.app._notifications)
        await at(chat, row_name(job))
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.session.model == "tiny-4bit")


async def test_a_download_asks_before_it_uses_the_network(run_chat, own, hub_double, tmp_path):
    hub_double.publish_checkpoint(NAME, hidden_size=256, vocab_size=8192)
    slow = hub_double.fail("GET /content/", times=None, slow=0.1)
    async with run_chat() as chat:
        screen = await opened(chat)
        await at(chat, "known:qwen3-0.6b")
        await chat.pilot.press("d")
        await chat.until(lambda: isinstance(page(chat), Confirm))
        assert "network connection" in page(chat)._text.plain
        await chat.pilot.press("escape")
        await chat.until(lambda: page(chat) is screen)
        assert hub_double.asked == []
        await chat.pilot.press("d")
        await chat.until(lambda: isinstance(page(chat), Confirm))
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.app._chat.jobs.online)
        bar = screen.query_one("#models-title")
        await chat.until(lambda: "ONLINE" in bar.right.plain)
        (job,) = chat.app._chat.jobs.listed
        await chat.until(lambda: job.progress is not None and job.progress.done > 0, 30)
        await chat.pilot.press("p")
        await chat.until(lambda: job.state == "paused", 30)
        assert "OFFLINE" in bar.right.plain
        slow.times = 0
        await chat.pilot.press("r")
        await chat.until(lambda: job.state == "done", 30)
        await chat.until(lambda: f"here:{NAME}" in screen._list._rows)
        assert "known:qwen3-0.6b" not in screen._list._rows


async def test_a_failed_job_says_cause_what_was_kept_and_what_to_do(run_chat, own, hub_double):
    hub_double.fail("GET /api", status=403, headers={"X-Error-Code": "GatedRepo"})
    async with run_chat() as chat:
        screen = await opened(chat)
        await chat.pilot.press("slash")
        await chat.type("owner/name")
        await chat.until(lambda: "hub:owner/name" in screen._list._rows)
        await chat.pilot.press("enter")
        await chat.until(lambda: isinstance(page(chat), Confirm))
        await chat.pilot.press("enter")
        await chat.until(lambda: any("is gated" in text for text in texts(screen)), 30)
        (line,) = [text for text in texts(screen) if "is gated" in text]
        assert "kept" in line
        await chat.pilot.press("x")
        await chat.until(lambda: not chat.app._chat.jobs.listed)


async def test_what_was_said_of_a_job_is_not_said_again_when_it_is_cleared(run_chat, own):
    async with run_chat() as chat:
        screen = await opened(chat)
        await at(chat, "here:tiny")
        await chat.pilot.press("v")
        (job,) = chat.app._chat.jobs.listed
        await chat.until(lambda: job.state == "done", 60)
        assert job.verified.ok
        assert screen._list.current is job
        assert len(chat.app._notifications) == 1
        await chat.pilot.press("x")
        await chat.until(lambda: not chat.app._chat.jobs.listed)
        assert len(chat.app._notifications) == 1
        chat.app._chat.action_do("quantize", "tiny")
        await chat.until(lambda: isinstance(page(chat), QuantiseDialog))
        assert [type(one) for one in chat.app.screen_stack].count(ModelsScreen) == 1


async def test_the_filter_is_left_before_the_page(run_chat, own):
    async with run_chat() as chat:
        screen = await opened(chat)
        await chat.pilot.press("slash")
        await chat.type("zzz")
        await chat.until(lambda: any("Nothing is called" in text for text in texts(screen)))
        await chat.pilot.press("escape")
        await chat.pilot.pause()
        assert page(chat) is screen
        assert screen.query_one("#models-wanted", Input).value == ""
        await chat.pilot.press("escape")
        await chat.until(lambda: not isinstance(page(chat), ModelsScreen))


async def test_all_there_is_to_say_on_a_narrow_terminal(run_chat, own):
    async with run_chat(size=(40, 10)) as chat:
        await opened(chat)
        await at(chat, "here:tiny")
        await chat.pilot.press("i")
        await chat.until(lambda: isinstance(page(chat), Details))
        await chat.pilot.pause(0.1)
        assert "weights" in str(page(chat).query_one(Static).content)
        await chat.pilot.press("escape")
        await chat.until(lambda: isinstance(page(chat), ModelsScreen))


async def test_the_dialog_reads_what_it_is_given(run_chat, own, tmp_path):
    async with run_chat(size=(100, 40)) as chat:
        chat.app._chat.action_do("quantize", "")
        await chat.until(lambda: isinstance(page(chat), QuantiseDialog))
        dialog = page(chat)
        plan = dialog.query_one("#quantise-plan", Static)
        await chat.until(lambda: "Name what" in str(plan.content))
        await chat.type("someone/unknown-model")
        await chat.until(lambda: "network connection" in str(plan.content))
        assert dialog.query_one("#field-original").display
        await chat.pilot.press("down", "right", "right")
        assert dialog.query_one("#way", Cycle).value == "best"
        await chat.until(lambda: not dialog.query_one("#field-original").display)
        await chat.pilot.press("right", "down")
        await chat.type("16 elephants")
        await chat.until(lambda: "is not a size" in str(plan.content))
        await chat.pilot.press("enter")
        await chat.pilot.pause(0.1)
        assert page(chat) is dialog
        await chat.pilot.press("escape")
        await chat.until(lambda: isinstance(page(chat), ModelsScreen))
        assert not chat.app._chat.jobs.listed


def test_what_the_dialog_orders(tmp_path):
    order = Quantising("tiny", "balanced", "", 8192, False, False, "tiny")
    assert order.arguments == ("tiny", "--recipe", "balanced")
    assert order.dry_run[-3:] == ("--context", "8192", "--dry-run")
    fitted = replace(order, source=str(tmp_path), way="fit", budget="16GB", context=4096)
    assert fitted.arguments == (str(tmp_path), "--fit", "16GB", "--context", "4096")
    fetched = replace(order, source="a/b", way="fast", discard=True, network=True)
    assert fetched.task == Task(
        "quantize", "tiny", ("a/b", "--recipe", "fast", "--discard-source"), True
    )


def test_names_that_would_act_on_the_terminal_do_not(own):
    model = LocalModel(HOSTILE, own / HOSTILE, "ours", 1, 4.0, HOSTILE, 0.0)
    row = Here(model, None, HOSTILE)
    job = Job(Task("pull", HOSTILE, (HOSTILE,)), "failed", failure=Failure("X", HOSTILE, HOSTILE))
    for shown in (
        paint(row, 80),
        details(row, 40),
        paint(Typed(HOSTILE), 80),
        job_line(job, 80),
        details(job, 60),
    ):
        assert "\x1b" not in shown.plain
        assert "\u202e" not in shown.plain
        assert "name[/]" in shown.plain
    said, bad = notice(job)
    assert bad
    assert "\x1b" not in said


@pytest.mark.parametrize("language", ["en", "it"])
@pytest.mark.parametrize("width", [20, 34, 48, 70, 120])
def test_rows_are_never_wider_than_they_may(facts, width, language):
    words.use(language)
    running = Job(Task("quantize", "a-rather-long-name-of-a-model", ("x",)), "running")
    running.progress = Progress("quantise", 0.34, 34, 100, 1.2e8, 42.0)
    states = ("waiting", "running", "ending", "paused", "done", "failed")
    jobs = [replace(running, state=state, failure=Failure("", "w", "h")) for state in states]
    found = sections(facts, jobs, "")
    assert len(found) == 3
    for section in found:
        lines = [heading(section, 8192, width), *(paint(row, width) for row in section.rows)]
        for line in lines:
            assert cell_len(line.plain.splitlines()[0]) <= width


def test_what_is_asked_for_is_found_by_any_of_its_names(facts):
    (known,) = sections(facts, (), "mlx-community/Qwen3-4B-4bit")
    assert [row.model.alias for row in known.rows] == ["qwen3-4b"]
    (typed,) = sections(facts, (), "someone/something")
    assert typed.rows == [Typed("someone/something")]
    assert sections(facts, (), "~/a") == []
    assert sections(facts, (), "../b") == []


def test_the_suggestion_leaves_room_for_other_programs(facts):
    chosen = preselected(facts.offers)
    assert chosen.plan.total <= 0.75 * 16_000_000_000
    fitting = [one for one in facts.offers if one.converted and one.plan and one.plan.fits]
    larger = [one for one in fitting if one.plan.total > chosen.plan.total]
    assert all(one.plan.total > 12_000_000_000 for one in larger)
    assert preselected(()) is None


def test_models_that_are_here_are_not_offered_again(facts):
    fetched = {offer.fetched for offer in facts.offers}
    assert NAME in fetched
    model = LocalModel(NAME, facts.here[0].model.path, "hub cache", 1, 4.0, "qwen3", 0.0)
    left = models_facts.offers(8192, [model], facts.budget)
    assert {offer.fetched for offer in left} == fetched - {NAME}


def test_why_a_folder_cannot_be_used(own, tmp_path):
    assert refusal(str(own / "models" / "tiny")) == ""
    assert "There is no folder" in refusal(str(tmp_path / "gone"))
    assert "config.json" in refusal(str(tmp_path))
    assert "There is no folder" in refusal("~nobody-of-that-name/model")
    assert refusal("") != ""


def test_what_the_title_says_of_work(own):
    jobs = Jobs(own / "jobs")
    assert summary(jobs) == ""
    job = Job(Task("pull", "x", ("x",)), "running", Progress("fetch", 0.349, 349, 1000))
    jobs._now = job
    jobs._listed = [job, Job(Task("verify", "y", ("y",)))]
    assert summary(jobs) == "⇣ 34 % +1"


def test_a_damaged_model_is_bad_news():
    job = Job(Task("verify", "x", ("x",)), "done")
    job.verified = Verified(False, 3, 10, ("A file differs. Fetch it again.",), ())
    said, bad = notice(job)
    assert bad
    assert "A file differs" in said
    assert job_line(job, 60).plain.startswith("✗ x")
    job.verified = Verified(True, 3, 10, (), ("No manifest.",))
    assert notice(job) == ("x is whole: every byte read, every layer computed.", False)


async def test_broken_off_work_is_listed_and_can_be_removed(run_chat, own):
    part = own / "models" / "half-4bit.partial"
    part.mkdir()
    (part / ".mlxqwen-partial").write_bytes(b"")
    (part / "output").write_bytes(bytes(5000))
    async with run_chat() as chat:
        screen = await opened(chat)
        await at(chat, "part:half-4bit")
        assert any("half-4bit" in text and "5.0 kB" in text for text in texts(screen))
        await chat.pilot.press("r")
        await chat.until(lambda: isinstance(page(chat), QuantiseDialog))
        await chat.pilot.press("escape")
        await chat.until(lambda: page(chat) is screen)
        await chat.pilot.press("x")
        await chat.until(lambda: isinstance(page(chat), Confirm))
        await chat.pilot.press("up", "enter")
        await chat.until(lambda: not part.exists())


async def test_work_that_an_earlier_session_left_is_offered(run_chat, own, tmp_path):
    folder = tmp_path / "jobs"
    folder.mkdir()
    left = {"kind": "quantize", "name": "tiny", "arguments": ["tiny", "--recipe", "fast"]}
    (folder / "a.json").write_text(json.dumps({**left, "network": False}))
    async with run_chat() as chat:
        screen = await opened(chat)
        await chat.until(lambda: chat.app._chat.jobs.listed)
        (job,) = chat.app._chat.jobs.listed
        assert job.state == "paused"
        await at(chat, row_name(job))
        await chat.pilot.press("r")
        await chat.until(lambda: job.state == "done", 60)
        assert (own / "models" / "tiny-4bit").is_dir()
        assert isinstance(screen.query_one(ModelList), OptionList)


def test_everything_is_looked_up_without_mlx():
    import subprocess
    import sys

    code = (
        "import sys, tui.screens.models, tui.screens.first_run, tui.screens.models_missing\n"
        "from tui.screens.models_facts import gather\n"
        "assert isinstance(gather(8192), object)\n"
        "assert not {'mlx', 'mlx.core', 'numpy', 'huggingface_hub'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


async def test_quitting_leaves_work_resumable(run_chat, own, tmp_path, monkeypatch):
    async with run_chat() as chat:
        jobs = chat.app._chat.jobs
        job = jobs.add(Task("quantize", "tiny", ("tiny", "--recipe", "balanced")))
        await asyncio.sleep(0.3)
    assert not job.active
    if job.state == "paused":
        assert list((tmp_path / "jobs").glob("*.json"))
    else:
        assert (own / "models" / "tiny-4bit").is_dir()


def test_facts_are_plain(facts):
    assert isinstance(facts, Facts)
    names = [row.model.name for row in facts.here]
    assert names == ["guide", "tiny"]
    assert facts.here[0].plan.context < 8192 or facts.here[0].plan.fits
