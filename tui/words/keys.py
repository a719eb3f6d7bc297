"""Names of keys, and why some of them cannot be had."""

from __future__ import annotations

KEYS: dict[str, tuple[str, str]] = {
    "key.escape": ("Esc", "Esc"),
    "key.enter": ("Enter", "Invio"),
    "key.tab": ("Tab", "Tab"),
    "key.space": ("Space", "Spazio"),
    "key.backspace": ("Backspace", "Backspace"),
    "key.delete": ("Del", "Canc"),
    "key.up": ("↑", "↑"),
    "key.down": ("↓", "↓"),
    "key.left": ("←", "←"),
    "key.right": ("→", "→"),
    "key.home": ("Home", "Home"),
    "key.end": ("End", "Fine"),
    "key.pageup": ("PgUp", "Pag↑"),
    "key.pagedown": ("PgDn", "Pag↓"),
    "keys.complaint": (
        "The key for “{action}” is left out: {why}",
        "Il tasto per «{action}» è tralasciato: {why}",
    ),
    "keys.taken": ("{key} already means “{action}”.", "{key} significa già «{action}»."),
    "keys.not_usable": (
        "{key} will not do: take Ctrl and a letter, or a function key.",
        "{key} non va: scegli Ctrl e una lettera, o un tasto funzione.",
    ),
    "keys.screen": (
        "GNU screen keeps {key} for itself.",
        "GNU screen tiene {key} per sé.",
    ),
    "keys.tmux": ("tmux keeps {key} for itself.", "tmux tiene {key} per sé."),
    "keys.is_backspace": (
        "{key} is the same as Backspace to a terminal.",
        "Per un terminale {key} è la stessa cosa di Backspace.",
    ),
    "keys.is_tab": (
        "{key} is the same as Tab to a terminal.",
        "Per un terminale {key} è la stessa cosa di Tab.",
    ),
    "keys.is_enter": (
        "{key} is the same as Enter to a terminal.",
        "Per un terminale {key} è la stessa cosa di Invio.",
    ),
    "keys.is_escape": (
        "{key} is the same as Esc to a terminal.",
        "Per un terminale {key} è la stessa cosa di Esc.",
    ),
    "keys.flow": (
        "{key} halts the output of many terminals.",
        "{key} blocca l’uscita di molti terminali.",
    ),
    "keys.suspends": (
        "{key} suspends programs in many terminals.",
        "{key} sospende i programmi in molti terminali.",
    ),
    "keys.discards": (
        "Terminals on macOS swallow {key}.",
        "I terminali di macOS si tengono {key}.",
    ),
    "keys.pastes": (
        "{key} pastes, or takes the next key literally, in many terminals.",
        "{key} incolla, o prende alla lettera il tasto seguente, in molti terminali.",
    ),
    "keys.kills": ("{key} ends programs in a terminal.", "{key} termina i programmi."),
    "keys.input_source": (
        "macOS changes the input source with {key}.",
        "macOS cambia la lingua della tastiera con {key}.",
    ),
    "keys.tabs": (
        "Terminals change tabs with {key}.",
        "I terminali cambiano scheda con {key}.",
    ),
    "keys.desktop": (
        "macOS shows the desktop with {key}.",
        "macOS mostra la scrivania con {key}.",
    ),
    "keys.spaces": (
        "macOS changes spaces and windows with {key}.",
        "macOS cambia spazi e finestre con {key}.",
    ),
    "keys.alt": (
        "{key} types a letter on many keyboards, or belongs to the system.",
        "{key} scrive una lettera su molte tastiere, o appartiene al sistema.",
    ),
    "keys.fixed_copy": (
        "{key} copies, stops and quits.",
        "{key} copia, ferma ed esce.",
    ),
    "keys.fixed_palette": ("{key} opens the palette.", "{key} apre la tavolozza dei comandi."),
    "keys.fixed_newline": (
        "{key} starts a new line in the question.",
        "{key} va a capo nella domanda.",
    ),
    "keys.fixed_editing": (
        "{key} edits what one writes.",
        "{key} serve a correggere ciò che si scrive.",
    ),
}
