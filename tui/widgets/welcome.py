"""What an empty chat shows."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

_DEMONSTRATION = (
    "This is a tiny demonstration model: it shows that everything works and writes fluent "
    "sentences, but knows next to nothing. Ctrl+L picks another model on this machine; "
    "mlxqwen quantize makes one from a Qwen3 checkpoint."
)
_KEYS = (
    ("Enter", "send"),
    ("Ctrl+J", "new line"),
    ("Esc", "stop, keeping the answer so far"),
    ("Ctrl+F", "find a chat, or anything said in one"),
    ("Ctrl+L", "choose the model"),
    ("F1", "all keys"),
)


class Welcome(Static):
    """Name, model, the few keys one needs first; a plain word about the built-in model."""

    def present(self, model: str, description: str, *, demonstration: bool) -> None:
        """Show which model answers, and what kind it is."""
        width = max(len(keys) for keys, _ in _KEYS)
        lines: list[tuple[str, str]] = [("m l x q w e n\n\n", "bold $text-primary")]
        lines += [("Nothing you write here leaves this machine.\n\n", "$text-muted")]
        if model:
            lines += [(model, "bold $text-accent")]
            lines += [(f"   {description}" if description else "", "$text-muted"), ("\n\n", "")]
        if demonstration:
            lines += [(f"{_DEMONSTRATION}\n\n", "$text-warning")]
        for keys, meaning in _KEYS:
            lines += [(keys.rjust(width), "$text-secondary"), (f"   {meaning}\n", "$text-muted")]
        self.update(Content.assemble(*lines).rstrip())
