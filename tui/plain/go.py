"""Commands that choose from a numbered list: chats, passages, branches, models."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from mlxqwen.errors import MlxqwenError
from mlxqwen.hub.library import LocalModel, resolve

from .. import findings
from ..records import Hit
from ..store import Store
from ..units import age, size
from ..views import model_label, one_line
from ..words import plural, say
from .chat import PlainChat
from .here import Here
from .reading import open_chat, opened, title_of

LISTED = 20
"""Lines in a list: what one still listens to."""
_HEAD = 60


def new(here: Here, argument: str) -> None:
    """An empty chat."""
    here.chat.do(here.chat.session.new())
    here.chat.say("plain.new")


def open_(here: Here, argument: str) -> None:
    """One of the last chats."""
    chat = here.chat
    found = chat.do(chat.archive.call(Store.conversations, LISTED))
    if not found:
        chat.say("plain.no_chats")
        return
    current = chat.session.conversation.id if chat.session.conversation else None
    now = time.time()
    lines: list[str] = []
    for item in found:
        title, ago = title_of(item.title), age(max(0.0, now - item.updated_at))
        line = say("plain.age", title=title, age=ago)
        lines.append(say("plain.current", text=line) if item.id == current else line)
    place = here.choose(lines, argument)
    if place is not None:
        chat.do(open_chat(chat, found[place].id))


def search(here: Here, argument: str) -> None:
    """Titles and passages with the words, to open one."""
    chat = here.chat
    if not argument.strip():
        chat.say("plain.search_how")
        return
    titled, hits = chat.do(_found(chat, argument))
    if not titled and not hits:
        chat.say("plain.none_found", text=one_line(argument))
        return
    lines = [title_of(title) for _, title in titled]
    lines += [f"{title_of(hit.title)}: {one_line(hit.passage)}" for hit in hits]
    chat.output.line(plural("plain.found", len(lines)))
    place = here.choose(lines)
    if place is None:
        return
    if place < len(titled):
        chat.do(open_chat(chat, titled[place][0]))
    else:
        chat.do(_open_hit(chat, hits[place - len(titled)]))


def branches(here: Here, argument: str) -> None:
    """Every branch by its last question and the beginning of its answer."""
    chat = here.chat
    conversation = chat.session.conversation
    if conversation is None:
        chat.say("branches.none")
        return
    path = chat.archive.path
    nodes = chat.do(chat.archive.background(partial(findings.outline, path, conversation.id)))
    parents = {node.parent_id for node in nodes}
    leaves = [node for node in nodes if node.id not in parents]
    if len(leaves) < 2:
        chat.say("plain.only_branch")
        return
    shown = chat.session.branch[-1].id if chat.session.branch else None
    lines = [_branch_line(nodes, leaf) for leaf in leaves]
    lines = [
        say("plain.current_branch", text=line) if leaf.id == shown else line
        for leaf, line in zip(leaves, lines, strict=True)
    ]
    chat.output.line(plural("branches.count", len(leaves)))
    place = here.choose(lines, argument)
    if place is not None:
        chat.do(_go_to(chat, conversation.id, leaves[place].id))


def models(here: Here, argument: str) -> None:
    """Another model on this machine, by number or name."""
    chat = here.chat
    found = list(chat.do(chat.models()).values())
    name = argument.strip()
    if name and not name.isdecimal():
        exact = [model.name for model in found if model.name == name]
        near = [model.name for model in found if name.lower() in model.name.lower()]
        _use(chat, exact or near, name)
        return
    if not found:
        chat.say("plain.no_models")
        return
    place = here.choose([_model_line(chat, model) for model in found], name)
    if place is not None:
        _use(chat, [found[place].name], name)


def _use(chat: PlainChat, names: Sequence[str], wanted: str) -> None:
    """Go on with the one model that is meant; a folder is one too."""
    if len(names) > 1:
        chat.say("plain.several_models", names=", ".join(one_line(name) for name in names))
        return
    if not names:
        try:
            resolve(wanted)
        except MlxqwenError:
            chat.say("plain.no_such_model", name=one_line(wanted))
            return
    use_model(chat, names[0] if names else wanted)


def use_model(chat: PlainChat, name: str) -> None:
    """Load ``name`` behind, and go on with it."""

    async def choose() -> None:
        chat.session.choose_model(name)

    chat.do(choose())
    chat.say("plain.model", model=model_label(name))


def _model_line(chat: PlainChat, model: LocalModel) -> str:
    line = f"{one_line(model.name)}, {size(model.bytes)}"
    if model.bits:
        line += f", {model.bits:g}-bit"
    return say("plain.current_model", text=line) if model.name == chat.session.model else line


def _branch_line(nodes: Sequence[findings.Node], leaf: findings.Node) -> str:
    by_id = {node.id: node for node in nodes}
    question, answer = leaf, ""
    if leaf.role != "user" and leaf.parent_id is not None:
        question, answer = by_id[leaf.parent_id], leaf.head
    parts = [one_line(text)[:_HEAD] for text in (question.head, answer)]
    return "; ".join(part for part in parts if part) or say("branches.empty")


async def _found(chat: PlainChat, wanted: str) -> tuple[list[tuple[int, str]], list[Hit]]:
    recent = await chat.archive.call(Store.conversations)
    folded = " ".join(wanted.lower().split())
    titled = [(item.id, item.title) for item in recent if folded in item.title.lower()]
    return titled[:LISTED], await chat.archive.call(Store.search, wanted, LISTED)


async def _open_hit(chat: PlainChat, hit: Hit) -> None:
    work = partial(findings.on_open_branch, chat.archive.path, hit.message_id)
    at = None if await chat.archive.background(work) else hit.message_id
    await chat.session.open(hit.conversation_id, at)
    shown = [message.id for message in chat.session.branch]
    await opened(chat, shown.index(hit.message_id) if hit.message_id in shown else None)


async def _go_to(chat: PlainChat, conversation_id: int, leaf_id: int) -> None:
    await chat.session.open(conversation_id, leaf_id)
    if not chat.archive.read_only:
        await chat.archive.call(Store.set_leaf, conversation_id, leaf_id)
    await opened(chat)
