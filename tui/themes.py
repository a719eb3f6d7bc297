"""Our own colours, dark and light; Textual's themes stay available beside them."""

from __future__ import annotations

from textual.theme import Theme


def _quiet(muted: str, disabled: str, background: str, scrollbar: str) -> dict[str, str]:
    """Text of second rank, and scrollbars that one sees only when looking for them."""
    return {
        "text-muted": muted,
        "text-disabled": disabled,
        "scrollbar": scrollbar,
        "scrollbar-background": background,
        "scrollbar-background-hover": background,
        "scrollbar-background-active": background,
        "scrollbar-corner-color": background,
    }


NIGHT = Theme(
    name="mlxqwen-night",
    dark=True,
    primary="#8aa4ff",
    secondary="#74cfc0",
    accent="#e8b06a",
    foreground="#d5d9e6",
    background="#10121a",
    surface="#151823",
    panel="#232838",
    success="#8fd19e",
    warning="#e5c07b",
    error="#ef8591",
    variables=_quiet("#7d859c", "#4b5266", "#10121a", "#2a3044"),
)
DAY = Theme(
    name="mlxqwen-day",
    dark=False,
    primary="#3454d1",
    secondary="#0f766e",
    accent="#b45309",
    foreground="#1f2430",
    background="#fbfbf8",
    surface="#f3f3ee",
    panel="#dfe1e6",
    success="#2f855a",
    warning="#a16207",
    error="#c53030",
    variables=_quiet("#6b7280", "#a3a8b3", "#fbfbf8", "#cfd2d9"),
)
