"""Our own colours: dark, light, and the terminal's own sixteen; Textual's themes stay beside them.

The plain theme names no colour but those of the terminal's palette, whatever it makes of them, on
the terminal's own background. Some palettes make its greys invisible, so that text of second rank
looks like all other; what is marked is underlined. It can be read on white as on black, and without
any colour at all.
"""

from __future__ import annotations

from collections.abc import Collection

from textual.theme import Theme

_PREFIX = "mlxqwen-"


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
PLAIN = Theme(
    name="mlxqwen-plain",
    ansi=True,
    primary="ansi_blue",
    secondary="ansi_cyan",
    accent="ansi_magenta",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    success="ansi_green",
    warning="ansi_yellow",
    error="ansi_red",
    variables={
        "panel": "ansi_default",
        "border": "ansi_blue",
        "border-blurred": "ansi_default",
        "block-cursor-foreground": "ansi_default",
        "block-cursor-background": "ansi_default",
        "block-cursor-text-style": "reverse",
        "input-cursor-text-style": "reverse",
        "input-selection-background": "ansi_blue",
        "input-selection-foreground": "ansi_bright_white",
        "screen-selection-background": "ansi_blue",
        "screen-selection-foreground": "ansi_bright_white",
        "scrollbar": "ansi_bright_black",
        "scrollbar-hover": "ansi_blue",
        "scrollbar-active": "ansi_blue",
        "scrollbar-background": "ansi_default",
        "scrollbar-background-hover": "ansi_default",
        "scrollbar-background-active": "ansi_default",
        "ansi-background": "ansi_default",
        "ansi-foreground": "ansi_default",
    },
)
OURS = (NIGHT, DAY, PLAIN)


def theme_called(name: str, known: Collection[str]) -> str | None:
    """The theme a person means by ``name``: ours go without their prefix too."""
    wanted = name.strip().lower()
    for candidate in (_PREFIX + wanted, wanted):
        if candidate in known:
            return candidate
    return None


def short_name(theme: str) -> str:
    """``night`` for ``mlxqwen-night``; others as they are called."""
    return theme.removeprefix(_PREFIX)


def theme_names(known: Collection[str]) -> list[str]:
    """All of them, ours first."""
    ours = [theme.name for theme in OURS]
    return ours + sorted(set(known) - set(ours) - {"textual-ansi"})
