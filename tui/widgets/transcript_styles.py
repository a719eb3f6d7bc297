"""How each style name of the renderer looks, in theme variables."""

from __future__ import annotations

_RULES: dict[str, str] = {
    "strong": "text-style: bold;",
    "em": "text-style: italic;",
    "strike": "text-style: strike;",
    "heading": "color: $text-primary; text-style: bold;",
    "heading-minor": "color: $text-secondary; text-style: bold;",
    "inline-code": "color: $text-accent;",
    "code": "",
    "frame": "color: $text-muted;",
    "label": "color: $text-muted;",
    "link": "text-style: underline;",
    "url": "color: $text-muted;",
    "quote": "text-style: italic;",
    "marker": "color: $text-secondary;",
    "done-mark": "color: $text-success;",
    "math": "color: $text-secondary;",
    "html": "color: $text-muted;",
    "dim": "color: $text-muted;",
    "table-head": "text-style: bold;",
    "syn-keyword": "color: $text-primary;",
    "syn-string": "color: $text-success;",
    "syn-number": "color: $text-warning;",
    "syn-comment": "color: $text-muted; text-style: italic;",
    "syn-name": "color: $text-secondary;",
    "syn-builtin": "color: $text-accent;",
    "syn-inserted": "color: $text-success;",
    "syn-deleted": "color: $text-error;",
    "user": "color: $text-primary; text-style: bold;",
    "assistant": "color: $text-accent; text-style: bold;",
    "system": "color: $text-muted; text-style: bold;",
    "note": "color: $text-warning; text-style: bold;",
    "meta": "color: $text-muted;",
    "thought": "color: $text-muted;",
    "state": "color: $text-warning;",
    "error": "color: $text-error;",
    "cursor": "color: $text-primary; text-style: bold;",
}

COMPONENT_CLASSES = {f"transcript--{name}" for name in _RULES}
STYLE_CSS = "\n".join(
    f"TranscriptView > .transcript--{name} {{ {rule} }}" for name, rule in _RULES.items() if rule
)
