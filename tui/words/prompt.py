"""What the prompt, its completions and its attachments say."""

from __future__ import annotations

PROMPT: dict[str, tuple[str, str]] = {
    "prompt.editing": ("editing – Esc leaves", "modifica – Esc per uscire"),
    "prompt.unknown": (
        "There is no command {word}. F1 lists them all; // sends a slash.",
        "Il comando {word} non esiste. F1 li elenca tutti; // invia una barra.",
    ),
    "prompt.unknown_near": (
        "There is no command {word}. Did you mean {nearest}?",
        "Il comando {word} non esiste. Intendevi {nearest}?",
    ),
    "prompt.too_small": (
        "Make this window larger.\nMeanwhile everything goes on.",
        "Allarga questa finestra.\nIntanto tutto continua.",
    ),
    "prompt.answered": ("mlxqwen has answered: {title}", "mlxqwen ha risposto: {title}"),
    "message.hint": (
        "j/k move  e edit  y copy  1–9 code  ←/→ versions  o thoughts  r again  f fork  Esc back",
        "j/k muovi  e modifica  y copia  1–9 codice  ←/→ versioni  o pensieri  r ancora"
        "  f biforca  Esc indietro",
    ),
    "message.none_to_edit": (
        "There is no question to edit yet.",
        "Non c’è ancora una domanda da modificare.",
    ),
    "message.none_to_copy": (
        "There is no answer to copy yet.",
        "Non c’è ancora una risposta da copiare.",
    ),
    "message.no_code": (
        "This message has no code block {number}.",
        "Questo messaggio non ha un blocco di codice {number}.",
    ),
    "message.which_code": (
        "/copy takes the number of a code block, not {word}.",
        "/copy vuole il numero di un blocco di codice, non {word}.",
    ),
    "editor.none": (
        "No editor is set: put its name into the variable EDITOR.",
        "Nessun editor impostato: scrivi il suo nome nella variabile EDITOR.",
    ),
    "editor.failed": (
        "{name} did not do its work ({reason}); what you wrote is as it was.",
        "{name} non ha fatto il suo lavoro ({reason}); ciò che hai scritto è com’era.",
    ),
    "editor.status": ("status {status}", "stato {status}"),
    "attach.paste": ("paste {number}", "testo incollato {number}"),
    "attach.chip": ("{size} · ~{tokens} tokens", "{size} · ~{tokens} token"),
    "attach.chip_folder": (
        "{files} files · {size} · ~{tokens} tokens",
        "{files} file · {size} · ~{tokens} token",
    ),
    "attach.more": ("+{number} more", "+{number} altri"),
    "attach.twice": ("{name} is attached already.", "{name} è già allegato."),
    "attach.skipped": (
        "Left out of {name}: {reasons}",
        "Escluso da {name}: {reasons}",
    ),
    "attach.skipped_more": ("and {number} more", "e altri {number}"),
    "attach.which": (
        "Which one? Type /attach and a path; Tab completes it.",
        "Quale? Scrivi /attach e un percorso; Tab lo completa.",
    ),
    "attach.unreadable": (
        "{name} cannot be read: {reason}.",
        "{name} non si può leggere: {reason}.",
    ),
    "attach.no_file": (
        "{name} is neither a file nor a folder.",
        "{name} non è né un file né una cartella.",
    ),
    "attach.image": (
        "{name} is an image: the Qwen3 models run here read text only.",
        "{name} è un’immagine: i modelli Qwen3 usati qui leggono solo testo.",
    ),
    "attach.pdf": (
        "{name} is a PDF: save its text to a file first.",
        "{name} è un PDF: salvane prima il testo in un file.",
    ),
    "attach.binary": (
        "{name} is not text: nothing in it can be read.",
        "{name} non è testo: non contiene nulla di leggibile.",
    ),
    "attach.empty": ("{name} is empty.", "{name} è vuoto."),
    "attach.too_large": (
        "{name} is larger than {limit} kB.",
        "{name} supera i {limit} kB.",
    ),
    "attach.no_text": (
        "{name} contains no text files that could be read.",
        "{name} non contiene file di testo leggibili.",
    ),
    "attach.ignored": ("{name} (ignored)", "{name} (ignorato)"),
    "attach.odd": ("{name} (a link, not a file)", "{name} (un collegamento, non un file)"),
    "attach.closed": ("{name} (not readable)", "{name} (non leggibile)"),
    "attach.rest_files": (
        "everything after the first {number} files",
        "tutto ciò che segue i primi {number} file",
    ),
    "attach.rest_bytes": (
        "everything after the first {limit} MB",
        "tutto ciò che segue i primi {limit} MB",
    ),
}
