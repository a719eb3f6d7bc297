"""Which keys actions may have, and that no binding is one that a terminal keeps for itself."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from textual.binding import Binding
from textual.dom import DOMNode

import tui
from tui import keys, words
from tui.actions.table import ACTIONS
from tui.keys import key_name, key_of, refusal, shown, swallowed, usable


def nodes():
    """Every app, screen and widget of the interface."""
    for module in pkgutil.walk_packages(tui.__path__, "tui."):
        if "__main__" not in module.name:
            importlib.import_module(module.name)
    found, waiting = set(), [DOMNode]
    while waiting:
        for kind in waiting.pop().__subclasses__():
            if kind not in found:
                found.add(kind)
                waiting.append(kind)
    return sorted(
        (kind for kind in found if kind.__module__.startswith("tui.")), key=lambda kind: str(kind)
    )


def default_bindings():
    return [
        (kind.__name__, binding.key)
        for kind in nodes()
        for binding in Binding.make_bindings(kind.__dict__.get("BINDINGS", []))
    ]


def test_no_default_binding_is_swallowed_by_terminals_tmux_screen_or_macos():
    bound = default_bindings()
    assert len({name for name, _ in bound}) > 6
    assert [(name, key) for name, key in bound if swallowed(key)] == []


@pytest.mark.parametrize(
    "key",
    [f"ctrl+{letter}" for letter in "abhimqsyzo"]
    + ["ctrl+left_square_bracket", "ctrl+space", "ctrl+at", "ctrl+tab", "f11"]
    + [f"ctrl+{arrow}" for arrow in ("up", "down", "left", "right")]
    + [f"alt+{key}" for key in ("left", "x", "enter", "1")],
)
def test_what_is_swallowed_is_refused_with_the_reason(key):
    assert swallowed(key)
    why = refusal("fork", key, {})
    assert shown(key) in why
    assert why.endswith(".")


def test_default_keys_are_unlike_each_other_and_usable():
    taken = [action.key for action in ACTIONS if action.key]
    assert len(taken) == len(set(taken))
    assert [refusal(action.name, action.key, {}) for action in ACTIONS if action.key] == [
        "" for _ in taken
    ]


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("ctrl+n", "Ctrl+N already means “New chat”."),
        ("ctrl+j", "Ctrl+J starts a new line in the question."),
        ("ctrl+c", "Ctrl+C copies, stops and quits."),
        ("x", "X will not do: take Ctrl and a letter, or a function key."),
        ("escape", "Esc will not do: take Ctrl and a letter, or a function key."),
        ("tab", "Tab will not do: take Ctrl and a letter, or a function key."),
        ("f5", ""),
        ("shift+f3", ""),
        ("ctrl+right_square_bracket", ""),
    ],
)
def test_refusals(key, why):
    assert refusal("fork", key, {}) == why


def test_a_key_that_was_given_away_is_free():
    assert refusal("fork", "ctrl+n", {"new": "f7"}) == ""
    assert refusal("new", "ctrl+n", {"fork": "ctrl+n"}).startswith("Ctrl+N already means")


def test_of_keys_by_hand_what_can_be_had_is_taken_and_the_rest_told():
    given = {"fork": "ctrl+b", "pin": "f5", "sing": "f6", "regenerate": ""}
    taken, complaints = usable(given)
    assert taken == {"pin": "f5", "regenerate": ""}
    assert complaints == ("The key for “Fork” is left out: tmux keeps Ctrl+B for itself.",)


def test_two_actions_may_swap_their_keys():
    swapped = {"new": "ctrl+r", "regenerate": "ctrl+n"}
    assert usable(swapped) == (swapped, ())


def test_keys_are_named_as_people_read_them():
    assert [shown(key) for key in ("ctrl+r", "f1", "escape", "", "shift+f3", "pageup")] == [
        "Ctrl+R",
        "F1",
        "Esc",
        "",
        "Shift+F3",
        "PgUp",
    ]
    words.use("it")
    assert (shown("enter"), shown("end")) == ("Invio", "Fine")


def test_actions_go_by_the_keys_in_force():
    assert (key_of("new"), key_name("fork")) == ("ctrl+n", "")
    keys.use({"new": "", "fork": "f5", "sing": "f6"})
    assert (key_name("new"), key_name("fork")) == ("", "F5")
