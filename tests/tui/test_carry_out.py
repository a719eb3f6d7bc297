"""Every action of the table is carried out by somebody, though nobody is imported before."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from tui.actions.carry_out import HANDLERS, handler
from tui.actions.table import ACTIONS


@pytest.mark.parametrize("name", [action.name for action in ACTIONS])
def test_an_action_has_a_handler(name):
    assert inspect.iscoroutinefunction(handler(name))
    assert list(inspect.signature(handler(name)).parameters)[1:] == ["argument"]


def test_no_handler_without_an_action():
    assert set(HANDLERS) <= {action.name for action in ACTIONS}


def test_the_start_imports_neither_handlers_nor_other_pages():
    program = (
        "import sys, tui.app; print([m for m in sys.modules if m.startswith(('tui.screens.',"
        " 'tui.actions.', 'tui.commands', 'tui.export', 'mlx', 'huggingface'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    heavy = (
        "library",
        "branches",
        "models_",
        "settings",
        "doctor",
        "first_run",
        "huggingface",
        "mlx.",
    )
    found = [name for name in eval(done.stdout) if any(part in name for part in heavy)]
    assert [name for name in found if not name.startswith("mlxqwen.")] == []
