"""What an empty chat shows."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from ..keys import key_name, shown
from ..words import say


class Welcome(Static):
    """Name, model, the few keys one needs first; a plain word about the built-in model."""

    def present(self, model: str, description: str, *, demonstration: bool) -> None:
        """Show which model answers, and what kind it is."""
        rows = [(shown("enter"), say("welcome.send")), (shown("ctrl+j"), say("welcome.newline"))]
        rows += [
            (key_name(action), say(f"welcome.{action}"))
            for action in ("stop", "search", "models", "help")
            if key_name(action)
        ]
        width = max(len(keys) for keys, _ in rows)
        lines: list[tuple[str, str]] = [("m l x q w e n\n\n", "bold $text-primary")]
        lines += [(f"{say('welcome.promise')}\n\n", "$text-muted")]
        if model:
            lines += [(model, "bold $text-accent")]
            lines += [(f"   {description}" if description else "", "$text-muted"), ("\n\n", "")]
        if demonstration:
            told = say("welcome.demonstration", models=key_name("models") or "/model")
            lines += [(f"{told}\n\n", "$text-warning")]
        for keys, meaning in rows:
            lines += [(keys.rjust(width), "$text-secondary"), (f"   {meaning}\n", "$text-muted")]
        self.update(Content.assemble(*lines).rstrip())
