"""What the linear chat says: everything that a picture would show otherwise."""

from __future__ import annotations

PLAIN: dict[str, tuple[str, str]] = {
    "plain.hello": (
        "mlxqwen, plain text. Nothing you write here leaves this machine. /help lists the "
        "commands.",
        "mlxqwen, solo testo. Nulla di ciò che scrivi qui lascia questa macchina. /help elenca i "
        "comandi.",
    ),
    "plain.model": ("Model: {model}.", "Modello: {model}."),
    "plain.begin": (
        "/help tells what you can do here, /quit leaves.",
        "/help dice che cosa puoi fare qui, /quit esce.",
    ),
    "plain.no_model": (
        "There is no model yet: `mlxqwen pull` fetches one.",
        "Non c’è ancora nessun modello: `mlxqwen pull` ne scarica uno.",
    ),
    "plain.you": ("You: ", "Tu: "),
    "plain.more": ("more: ", "ancora: "),
    "plain.role": ("{name}:", "{name}:"),
    "plain.version": (
        "{name}, version {place} of {count}:",
        "{name}, versione {place} di {count}:",
    ),
    "plain.thinking": ("Thinking:", "Ragionamento:"),
    "plain.thought": ("Thought for {seconds} s.", "Ha ragionato per {seconds} s."),
    "plain.thought_some": ("It thought first.", "Prima ha ragionato."),
    "plain.stopped": (
        "Stopped; what came is kept.",
        "Fermata; ciò che è arrivato è conservato.",
    ),
    "plain.interrupted": (
        "This answer was cut off; what had come is kept. /continue goes on with it.",
        "Questa risposta fu interrotta; ciò che era arrivato è conservato. /continue la prosegue.",
    ),
    "plain.error": ("Error: {detail}", "Errore: {detail}"),
    "plain.nothing_came": ("The answer is empty.", "La risposta è vuota."),
    "plain.heading": ("Heading {level}: {text}", "Titolo {level}: {text}"),
    "plain.quote": ("Quotation:", "Citazione:"),
    "plain.quote_end": ("End of quotation.", "Fine della citazione."),
    "plain.code": ("Code block {number}:", "Blocco di codice {number}:"),
    "plain.code_in": (
        "Code block {number}, {language}:",
        "Blocco di codice {number}, {language}:",
    ),
    "plain.code_end": ("End of code block {number}.", "Fine del blocco di codice {number}."),
    "plain.table.one": (
        "Table with {number} column: {names}.",
        "Tabella di {number} colonna: {names}.",
    ),
    "plain.table.many": (
        "Table with {number} columns: {names}.",
        "Tabella di {number} colonne: {names}.",
    ),
    "plain.row": ("Row {number}. {cells}.", "Riga {number}. {cells}."),
    "plain.cell_empty": ("empty", "vuoto"),
    "plain.table_end": ("End of table.", "Fine della tabella."),
    "plain.still_loading": ("Still loading {model}.", "Sto ancora caricando {model}."),
    "plain.still_reading": (
        "Still reading: {done} of {total} tokens.",
        "Sto ancora leggendo: {done} token su {total}.",
    ),
    "plain.still_thinking": ("Still thinking.", "Sto ancora ragionando."),
    "plain.still_writing": ("Still writing.", "Sto ancora scrivendo."),
    "plain.still_waiting": ("Still waiting for the engine.", "Aspetto ancora il motore."),
    "plain.warning": ("Warning: {text}", "Attenzione: {text}"),
    "plain.leave_again": (
        "Ctrl+C again within two seconds leaves.",
        "Ancora Ctrl+C entro due secondi per uscire.",
    ),
    "plain.bye": ("Everything is saved. Goodbye.", "Tutto è salvato. Arrivederci."),
    "plain.graphical": (
        "{command} belongs to the graphical chat. {instead}",
        "{command} fa parte della chat grafica. {instead}",
    ),
    "plain.instead.theme": ("There are no colours here.", "Qui non ci sono colori."),
    "plain.instead.settings": (
        "The settings are in the file {path}.",
        "Le impostazioni sono nel file {path}.",
    ),
    "plain.instead.doctor": (
        "`mlxqwen doctor` says the same on the command line.",
        "`mlxqwen doctor` dice lo stesso dalla riga di comando.",
    ),
    "plain.instead.quantize": (
        "`mlxqwen quantize` does it on the command line.",
        "`mlxqwen quantize` lo fa dalla riga di comando.",
    ),
    "plain.unknown": (
        "There is no command {word}. /help lists them all; // sends a slash.",
        "Il comando {word} non esiste. /help li elenca tutti; // invia una barra.",
    ),
    "plain.unknown_near": (
        "There is no command {word}. Did you mean {nearest}?",
        "Il comando {word} non esiste. Intendevi {nearest}?",
    ),
    "plain.number": ("Number, or Enter for none: ", "Numero, o Invio per nessuno: "),
    "plain.no_number": (
        "There is no number {text} in the list.",
        "Nella lista non c’è il numero {text}.",
    ),
    "plain.listed": ("{number}. {text}", "{number}. {text}"),
    "plain.current": ("{text}, the one open", "{text}, quella aperta"),
    "plain.current_model": ("{text}, the one in use", "{text}, quello in uso"),
    "plain.current_branch": ("{text}, the one open", "{text}, quello aperto"),
    "plain.age": ("{title}, {age}", "{title}, {age}"),
    "plain.no_chats": ("There are no chats yet.", "Non ci sono ancora chat."),
    "plain.no_models": ("There are no models here.", "Qui non ci sono modelli."),
    "plain.no_such_model": (
        "No model here is called {name}; /model lists them.",
        "Qui nessun modello si chiama {name}; /model li elenca.",
    ),
    "plain.several_models": (
        "Several models are meant: {names}.",
        "Sono più modelli: {names}.",
    ),
    "plain.search_how": ("Type /search and the words.", "Scrivi /search e le parole."),
    "plain.found.one": ("{number} passage:", "{number} brano:"),
    "plain.found.many": ("{number} passages:", "{number} brani:"),
    "plain.none_found": ("Nothing contains {text}.", "Nulla contiene {text}."),
    "plain.opened.one": ("{title}, {number} message.", "{title}, {number} messaggio."),
    "plain.opened.many": ("{title}, {number} messages.", "{title}, {number} messaggi."),
    "plain.earlier.one": (
        "{number} earlier message; /read all reads everything.",
        "{number} messaggio precedente; /read all legge tutto.",
    ),
    "plain.earlier.many": (
        "{number} earlier messages; /read all reads everything.",
        "{number} messaggi precedenti; /read all legge tutto.",
    ),
    "plain.new": ("A new chat.", "Una nuova chat."),
    "plain.only_branch": (
        "This chat has one branch only. /regen and /edit make others.",
        "Questa chat ha un solo ramo. /regen e /edit ne fanno altri.",
    ),
    "plain.edit_first": (
        "Your last question, to change; Enter sends it.",
        "La tua ultima domanda, da cambiare; Invio la manda.",
    ),
    "plain.edit_now": ("Your last question was: {text}", "La tua ultima domanda era: {text}"),
    "plain.edit_prompt": ("New question: ", "Nuova domanda: "),
    "plain.draft": ("A draft was left here: {text}", "Qui era rimasta una bozza: {text}"),
    "plain.attached": (
        "{name} goes with the next message.",
        "{name} andrà con il prossimo messaggio.",
    ),
    "plain.with": ("With {names}.", "Con {names}."),
    "plain.no_clipboard": (
        "No clipboard tool is here (pbcopy, wl-copy, xclip or xsel).",
        "Qui non c’è uno strumento per gli appunti (pbcopy, wl-copy, xclip o xsel).",
    ),
    "plain.editor_empty": ("Nothing was written.", "Non è stato scritto nulla."),
    "plain.language": ("The language is English now.", "Ora la lingua è l’italiano."),
    "plain.language_how": ("Type /lang en or /lang it.", "Scrivi /lang en o /lang it."),
    "plain.read_nothing": ("There is nothing to read yet.", "Non c’è ancora nulla da leggere."),
    "plain.read_which": (
        "/read takes a number from 1 to {count}, or all.",
        "/read vuole un numero da 1 a {count}, o all.",
    ),
    "plain.persona_how": (
        "/persona NAME uses one, /persona save NAME makes one, /persona rm NAME forgets it.",
        "/persona NOME ne usa una, /persona save NOME ne crea una, /persona rm NOME la elimina.",
    ),
    "plain.stats": ("{name}: {value}", "{name}: {value}"),
    "plain.help": (
        "Type and press Enter to send. A line that ends with a backslash goes on in the next one; "
        "three double quotes begin and end a text of several lines. Ctrl+C stops an answer and "
        "keeps what came, clears the line, and pressed twice leaves. Ctrl+D leaves too.",
        "Scrivi e premi Invio per inviare. Una riga che finisce con una barra rovesciata continua "
        "nella seguente; tre virgolette doppie aprono e chiudono un testo di più righe. Ctrl+C "
        "ferma la risposta tenendo ciò che è arrivato, cancella la riga e, premuto due volte, "
        "esce. Anche Ctrl+D esce.",
    ),
    "plain.help_line": ("{command}: {meaning}", "{command}: {meaning}"),
    "plain.help.open": ("Open one of the last chats", "Apri una delle ultime chat"),
    "plain.help.read": (
        "Read the last message again, message N, or all",
        "Rileggi l’ultimo messaggio, il messaggio N, o tutti",
    ),
    "plain.help.editor": ("Write in $EDITOR", "Scrivi in $EDITOR"),
    "plain.help.delete": (
        "Delete this chat; /undo brings it back",
        "Elimina questa chat; /undo la recupera",
    ),
    "plain.help.help": ("Read this again", "Rileggi questo"),
    "plain.help.quit": ("Leave; everything is saved", "Esci; tutto è salvato"),
    "plain.help.models": ("Choose another model", "Scegli un altro modello"),
    "plain.help.search": (
        "Find what was said in any chat",
        "Trova ciò che fu detto in una chat",
    ),
}
