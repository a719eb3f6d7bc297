"""What the help page says beside the names of the actions."""

from __future__ import annotations

HELP: dict[str, tuple[str, str]] = {
    "help.title": ("Keys and commands", "Tasti e comandi"),
    "help.hint": ("type to search · ↑↓ · Esc", "scrivi per cercare · ↑↓ · Esc"),
    "help.wanted": ("search", "cerca"),
    "help.nothing": ("Nothing is called so.", "Niente si chiama così."),
    "help.literal": (
        "A question that begins with // is sent with one slash.",
        "Una domanda che comincia con // si invia con una barra sola.",
    ),
    "help.send": ("Send", "Invia"),
    "help.newline": (
        "New line; Shift+Enter too in many terminals",
        "A capo; anche Maiusc+Invio in molti terminali",
    ),
    "help.history": (
        "Earlier questions, from the first or last line",
        "Domande precedenti, dalla prima o dall’ultima riga",
    ),
    "help.edit_last": (
        "In an empty prompt: edit the last question, then the ones before",
        "A prompt vuoto: modifica l’ultima domanda, poi le precedenti",
    ),
    "help.take_off": (
        "In an empty prompt: take off what was attached last",
        "A prompt vuoto: toglie l’ultimo allegato",
    ),
    "help.list": ("To the list of chats, and back", "All’elenco delle chat, e indietro"),
    "help.again": ("Another answer; both are kept", "Un’altra risposta; restano entrambe"),
    "help.fork": ("Go on in a copy from there", "Continua da lì in una copia"),
    "help.complete": ("Complete a /command", "Completa un /comando"),
    "help.scroll": ("Scroll", "Scorri"),
    "help.follow": (
        "Follow the answer as it comes",
        "Segui la risposta mentre arriva",
    ),
    "help.interrupt": (
        "Copy what is selected; else stop; twice, quit",
        "Copia ciò che è selezionato; se no ferma; due volte, esci",
    ),
    "help.palette": ("Every action by name", "Tutte le azioni per nome"),
    "help.messages": ("Among the messages", "Fra i messaggi"),
    "help.enter_messages": (
        "To the messages, and back",
        "Ai messaggi, e indietro",
    ),
    "help.next": ("Next and previous message", "Messaggio seguente e precedente"),
    "help.edit": ("Ask it differently, in a new branch", "Riscrivilo, in un nuovo ramo"),
    "help.copy": ("Copy the message", "Copia il messaggio"),
    "help.block": ("Copy its code block by number", "Copia il suo blocco di codice per numero"),
    "help.sibling": ("Its other versions", "Le sue altre versioni"),
    "help.fold": ("Fold its thoughts", "Ripiega i suoi ragionamenti"),
}
