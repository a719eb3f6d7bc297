"""What the bars, the headers of messages and the empty chat say; names of units."""

from __future__ import annotations

STATUS: dict[str, tuple[str, str]] = {
    "unit.decimal": (".", ","),
    "unit.now": ("now", "ora"),
    "unit.minutes": ("{number}m", "{number}min"),
    "unit.hours": ("{number}h", "{number}h"),
    "unit.days": ("{number}d", "{number}g"),
    "unit.months": ("{number}mo", "{number}mesi"),
    "unit.years.one": ("{number}y", "{number}anno"),
    "unit.years.many": ("{number}y", "{number}anni"),
    "status.stopping": ("stopping…", "mi fermo…"),
    "status.deaf": (
        "stopping…   {key} again ends the engine",
        "mi fermo…   di nuovo {key} chiude il motore",
    ),
    "status.loading": ("loading {model}…", "carico {model}…"),
    "status.read_only": ("read-only", "sola lettura"),
    "status.ready": ("ready", "pronto"),
    "status.elsewhere": ("   in another chat", "   in un’altra chat"),
    "status.writing": (
        "{rate} tok/s   {number} tokens{where}",
        "{rate} tok/s   {number} token{where}",
    ),
    "status.reading_part": (
        "reading {done} of {total} tokens{where}",
        "leggo {done} di {total} token{where}",
    ),
    "status.reading": ("reading…{where}", "leggo…{where}"),
    "status.stop": ("stop", "ferma"),
    "status.help": ("help", "aiuto"),
    "view.role.system": ("System", "Sistema"),
    "view.role.tool": ("Tool", "Strumento"),
    "view.thinking": ("thinking…", "ragiona…"),
    "view.thought": ("thought", "ragionato"),
    "view.tokens": ("tok", "token"),
    "view.stopped": ("stopped", "fermata"),
    "view.interrupted": ("interrupted", "interrotta"),
    "view.error": ("error", "errore"),
    "view.copy": ("copy", "copia"),
    "welcome.promise": (
        "Nothing you write here leaves this machine.",
        "Nulla di ciò che scrivi qui lascia questa macchina.",
    ),
    "welcome.demonstration": (
        "This is a tiny demonstration model: it shows that everything works and writes fluent "
        "sentences, but knows next to nothing. {models} picks another model on this machine; "
        "/quantize makes one from a Qwen3 checkpoint.",
        "Questo è un minuscolo modello dimostrativo: mostra che tutto funziona e scrive frasi "
        "scorrevoli, ma non sa quasi nulla. {models} ne sceglie un altro su questa macchina; "
        "/quantize ne fa uno da un checkpoint di Qwen3.",
    ),
    "welcome.send": ("send", "invia"),
    "welcome.newline": ("new line", "a capo"),
    "welcome.stop": (
        "stop, keeping the answer so far",
        "ferma, tenendo la risposta fin lì",
    ),
    "welcome.search": (
        "find a chat, or anything said in one",
        "trova una chat, o ciò che vi fu detto",
    ),
    "welcome.models": ("choose the model", "scegli il modello"),
    "welcome.help": ("all keys", "tutti i tasti"),
}
