"""What the chat says."""

from __future__ import annotations

CHAT: dict[str, tuple[str, str]] = {
    "chat.ask": ("Ask anything", "Chiedi qualunque cosa"),
    "chat.chats": ("Chats", "Chat"),
    "chat.untitled": ("Untitled", "Senza titolo"),
    "chat.you": ("You", "Tu"),
    "chat.offline": ("OFFLINE", "OFFLINE"),
    "chat.copied": ("Copied.", "Copiato."),
    "chat.deleted": (
        "The chat is deleted. /undo brings it back.",
        "La chat è eliminata. /undo la recupera.",
    ),
    "chat.code_copied": (
        "Code block {number} is copied.",
        "Il blocco di codice {number} è copiato.",
    ),
    "chat.quit_again": ("Press Ctrl+C again to quit.", "Premi di nuovo Ctrl+C per uscire."),
    "chat.new_lines.one": ("↓ {number} new line (End)", "↓ {number} nuova riga (Fine)"),
    "chat.new_lines.many": ("↓ {number} new lines (End)", "↓ {number} nuove righe (Fine)"),
    "chat.read_only": (
        "Another mlxqwen is open: conversations are read-only in this one.",
        "C’è un altro mlxqwen aperto: in questo le conversazioni sono di sola lettura.",
    ),
    "chat.recovered.one": (
        "Last time one answer was cut off; what had come is kept.",
        "L’ultima volta una risposta fu interrotta; ciò che era arrivato è conservato.",
    ),
    "chat.recovered.many": (
        "Last time {number} answers were cut off; what had come is kept.",
        "L’ultima volta {number} risposte furono interrotte; ciò che era arrivato è conservato.",
    ),
}
