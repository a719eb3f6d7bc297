"""What the session says of answers, branches, personas, sampling and figures."""

from __future__ import annotations

SESSION: dict[str, tuple[str, str]] = {
    "session.one_answer": (
        "One answer at a time: {key} stops the one being written.",
        "Una risposta alla volta: {key} ferma quella in corso.",
    ),
    "session.model_waits": (
        "{key} stops the answer; then the model can change.",
        "{key} ferma la risposta; poi il modello si può cambiare.",
    ),
    "session.ask_again": ("{error} {key} asks again.", "{error} {key} la chiede di nuovo."),
    "session.died": (
        "{cause} The next message starts it anew.",
        "{cause} Il prossimo messaggio lo riavvia.",
    ),
    "session.died_answering": (
        "{cause} {key} asks again and starts the engine anew.",
        "{cause} {key} chiede di nuovo e riavvia il motore.",
    ),
    "session.died_kept": (
        "{cause} What came is kept. {key} asks again and starts the engine anew.",
        "{cause} Ciò che era arrivato è conservato. {key} chiede di nuovo e riavvia il motore.",
    ),
    "session.last_words": (" It said: {words}", " Ha detto: {words}"),
    "session.continue": ("/continue goes on with it", "/continue la prosegue"),
    "session.nothing_to_answer": (
        "There is nothing to answer yet.",
        "Non c’è ancora nulla a cui rispondere.",
    ),
    "session.nothing_to_edit": (
        "There is no question to edit yet.",
        "Non c’è ancora una domanda da modificare.",
    ),
    "session.only_questions": (
        "Only questions can be edited; answers can be asked for again.",
        "Si modificano solo le domande; le risposte si possono richiedere.",
    ),
    "session.empty": (
        "This chat is still empty.",
        "Questa chat è ancora vuota.",
    ),
    "session.go_on": (
        "Your last answer was cut off. Continue it exactly where it ends, in the same language, "
        "without repeating anything and without a word before.",
        "La tua ultima risposta è stata interrotta. Continuala esattamente da dove finisce, nella "
        "stessa lingua, senza ripetere nulla e senza premesse.",
    ),
    "session.forked": (
        "You are in a copy now: {title}.",
        "Ora sei in una copia: {title}.",
    ),
    "session.renamed": ("The chat is now called {title}.", "La chat ora si chiama {title}."),
    "session.rename_how": (
        "Type /rename and the new title.",
        "Scrivi /rename e il nuovo titolo.",
    ),
    "session.pinned": ("The chat stays at the top.", "La chat resta in cima."),
    "session.unpinned": (
        "The chat no longer stays at the top.",
        "La chat non resta più in cima.",
    ),
    "session.nothing_deleted": (
        "There is no deleted chat to bring back.",
        "Non c’è nessuna chat eliminata da recuperare.",
    ),
    "session.restored": ("{title} is back.", "{title} è di nuovo qui."),
    "system.title": ("System prompt", "Prompt di sistema"),
    "system.none": (
        "This chat has no system prompt. /system and a text gives it one.",
        "Questa chat non ha un prompt di sistema. /system seguito da un testo gliene dà uno.",
    ),
    "system.how": (
        "/system and a text replaces it; /system - removes it.",
        "/system seguito da un testo lo sostituisce; /system - lo toglie.",
    ),
    "system.set": (
        "The system prompt holds from the next answer on.",
        "Il prompt di sistema vale dalla prossima risposta.",
    ),
    "system.removed": ("The system prompt is gone.", "Il prompt di sistema è tolto."),
    "persona.title": ("Personas", "Personas"),
    "persona.hint": ("a part of the name", "una parte del nome"),
    "persona.none": (
        "There are no personas yet. /persona save NAME makes one of this chat’s system prompt and "
        "sampling.",
        "Non ci sono ancora personas. /persona save NOME ne fa una con il prompt di sistema e il "
        "campionamento di questa chat.",
    ),
    "persona.unknown": (
        "There is no persona called {name}.",
        "Non c’è nessuna persona chiamata {name}.",
    ),
    "persona.applied": ("{name} answers from now on.", "D’ora in poi risponde {name}."),
    "persona.saved": (
        "{name} is saved: this chat’s system prompt and sampling.",
        "{name} è salvata: prompt di sistema e campionamento di questa chat.",
    ),
    "persona.removed": (
        "{name} is removed; chats that used it stay as they are.",
        "{name} è eliminata; le chat che la usavano restano come sono.",
    ),
    "persona.bare": (
        "This chat has neither system prompt nor sampling of its own to save.",
        "Questa chat non ha né prompt di sistema né campionamento propri da salvare.",
    ),
    "set.title": ("Sampling", "Campionamento"),
    "set.how": (
        "/set NAME VALUE changes one for this chat; /set NAME - gives it back.",
        "/set NOME VALORE ne cambia uno per questa chat; /set NOME - lo ripristina.",
    ),
    "set.here": ("{value}  (this chat)", "{value}  (questa chat)"),
    "set.settings": ("{value}  (settings)", "{value}  (impostazioni)"),
    "set.model": ("the model’s own", "quello del modello"),
    "set.drawn": ("drawn anew each time", "estratto ogni volta"),
    "set.changed": (
        "{name} is {value} from the next answer on.",
        "{name} è {value} dalla prossima risposta.",
    ),
    "set.reset": ("{name} is as before again.", "{name} è di nuovo come prima."),
    "set.unknown": (
        "There is no parameter called {name}.",
        "Non c’è nessun parametro chiamato {name}.",
    ),
    "set.names": ("They are: {names}.", "Sono: {names}."),
    "set.number": (
        "{name} has to be a number, and {value} is none.",
        "{name} dev’essere un numero, e {value} non lo è.",
    ),
    "set.whole": (
        "{name} has to be a whole number, and {value} is none.",
        "{name} dev’essere un numero intero, e {value} non lo è.",
    ),
    "set.large": ("That is too large for {name}.", "È troppo grande per {name}."),
    "set.few": ("{name} has to be 1 or more.", "{name} dev’essere almeno 1."),
    "think.auto": (
        "Whether to think is left to the model.",
        "Se ragionare lo decide il modello.",
    ),
    "think.on": ("The model thinks before it answers.", "Il modello ragiona prima di rispondere."),
    "think.off": ("The model answers without thinking.", "Il modello risponde senza ragionare."),
    "think.limited": (
        "The model thinks for up to {number} tokens.",
        "Il modello ragiona per al massimo {number} token.",
    ),
    "think.cannot": (
        "{model} does not know how to think; another model may.",
        "{model} non sa ragionare; un altro modello forse sì.",
    ),
    "think.unknown": (
        "/think does not know {value}.",
        "/think non conosce {value}.",
    ),
    "think.values": (
        "It takes on, off, auto, hide, show or a number of tokens.",
        "Accetta on, off, auto, hide, show o un numero di token.",
    ),
    "think.hidden": ("Thoughts are out of sight.", "I ragionamenti sono nascosti."),
    "think.shown": ("Thoughts are shown.", "I ragionamenti si vedono."),
    "text.close": ("Esc closes", "Esc chiude"),
    "stats.title": ("Figures", "Cifre"),
    "stats.messages": ("Messages in this branch", "Messaggi in questo ramo"),
    "stats.answers": ("Answers", "Risposte"),
    "stats.tokens": ("Tokens written", "Token scritti"),
    "stats.seconds": ("Time answering", "Tempo delle risposte"),
    "stats.rate": ("Speed", "Velocità"),
    "stats.context": ("Context used", "Contesto usato"),
    "stats.of": ("{used} of {size}", "{used} su {size}"),
    "stats.model": ("Model", "Modello"),
    "stats.memory": ("Memory of the model", "Memoria del modello"),
    "stats.unknown": ("not known yet", "ancora ignoto"),
}
