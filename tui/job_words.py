"""Long work in words: for the status line, and for the notice when it is over."""

from __future__ import annotations

from .job import Job
from .jobs import Jobs
from .keys import key_name
from .views import model_label, one_line
from .words import say

MARKS = {"pull": "⇣", "quantize": "◆", "verify": "◇"}


def summary(jobs: Jobs) -> str:
    """``⇣ 34 %`` of what runs, and how many wait; "" where nothing does."""
    job = jobs.running
    if job is None:
        return ""
    waiting = sum(other.state == "waiting" for other in jobs.listed)
    more = f" +{waiting}" if waiting else ""
    return f"{MARKS[job.task.kind]} {percent(job) or '…'}{more}"


def percent(job: Job) -> str:
    """``34 %`` of the present stage; "" where that is not known."""
    share = job.progress.share if job.progress else None
    return "" if share is None else f"{int(share * 100)} %"


def stage(job: Job) -> str:
    """What it does just now."""
    return say(f"jobs.stage.{job.progress.stage if job.progress else 'begin'}")


def kept(job: Job) -> str:
    """What a failure left, and the one thing to do about it."""
    return say(f"jobs.kept.{job.task.kind}")


def notice(job: Job) -> tuple[str, bool] | None:
    """What to tell of a job that has just ended, and whether that is bad news."""
    name = model_label(job.task.name)
    if job.state == "failed" and job.failure:
        what = say(f"jobs.{job.task.kind}")
        cause = one_line(f"{job.failure.what} {job.failure.hint}")
        return say("jobs.said.failed", what=what, name=name, cause=cause, kept=kept(job)), True
    if job.state != "done":
        return None
    if job.verified is not None:
        if job.verified.ok:
            return say("jobs.said.whole", name=name), False
        problem = one_line(job.verified.problems[0])
        return say("jobs.said.damaged", name=name, problem=problem), True
    if job.task.kind == "quantize":
        name = model_label(job.path)
    return say(f"jobs.said.{job.task.kind}", name=name, key=key_name("models")), False
