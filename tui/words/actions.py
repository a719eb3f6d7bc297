"""Names and explanations of every action, as palette, help and completion show them."""

from __future__ import annotations

ACTIONS: dict[str, tuple[str, str]] = {
    "group.write": ("Write", "Scrivere"),
    "group.read": ("Read", "Leggere"),
    "group.go": ("Go", "Andare"),
    "group.keep": ("Keep", "Conservare"),
    "group.tune": ("Tune", "Regolare"),
    "action.stop": ("Stop", "Ferma"),
    "action.stop.help": (
        "Stop the answer and keep what came",
        "Ferma la risposta, tenendo ciò che è arrivato",
    ),
    "action.regenerate": ("Answer again", "Rispondi di nuovo"),
    "action.regenerate.help": (
        "Another answer; both are kept",
        "Un’altra risposta; restano entrambe",
    ),
    "action.continue": ("Go on", "Continua"),
    "action.continue.help": (
        "Go on with an answer that was cut off; both are kept",
        "Prosegui una risposta interrotta; restano entrambe",
    ),
    "action.edit": ("Edit", "Modifica"),
    "action.edit.help": (
        "Ask the last question differently, in a new branch",
        "Riscrivi l’ultima domanda, in un nuovo ramo",
    ),
    "action.editor": ("Editor", "Editor"),
    "action.editor.help": ("Write in $EDITOR", "Scrivi in $EDITOR"),
    "action.attach": ("Attach", "Allega"),
    "action.attach.help": (
        "Add a text file or a folder to the question",
        "Aggiungi un file di testo o una cartella alla domanda",
    ),
    "action.think": ("Thinking", "Ragionamento"),
    "action.think.help": (
        "Whether the model thinks first, and whether thoughts are shown",
        "Se il modello ragiona prima, e se i ragionamenti si vedono",
    ),
    "action.fold": ("Fold thoughts", "Ripiega i ragionamenti"),
    "action.fold.help": (
        "Hide or show what was thought",
        "Nascondi o mostra ciò che è stato pensato",
    ),
    "action.copy": ("Copy", "Copia"),
    "action.copy.help": (
        "Copy the last answer, or code block N of it",
        "Copia l’ultima risposta, o il suo blocco di codice N",
    ),
    "action.stats": ("Figures", "Cifre"),
    "action.stats.help": (
        "Tokens, seconds and memory of this chat",
        "Token, secondi e memoria di questa chat",
    ),
    "action.new": ("New chat", "Nuova chat"),
    "action.new.help": ("Start an empty conversation", "Comincia una conversazione vuota"),
    "action.search": ("Library", "Archivio"),
    "action.search.help": (
        "Find a chat, or anything ever said in one",
        "Trova una chat, o qualunque cosa vi sia stata detta",
    ),
    "action.models": ("Models", "Modelli"),
    "action.models.help": (
        "Choose, fetch, quantise or remove a model",
        "Scegli, scarica, quantizza o elimina un modello",
    ),
    "action.branches": ("Branches", "Rami"),
    "action.branches.help": (
        "Every version of this conversation",
        "Tutte le versioni di questa conversazione",
    ),
    "action.fork": ("Fork", "Biforca"),
    "action.fork.help": (
        "Go on in a copy; this chat stays as it is",
        "Continua in una copia; questa chat resta com’è",
    ),
    "action.rename": ("Rename", "Rinomina"),
    "action.rename.help": ("Give this chat another title", "Dai un altro titolo a questa chat"),
    "action.pin": ("Pin", "Fissa"),
    "action.pin.help": (
        "Keep this chat at the top, or no longer",
        "Tieni questa chat in cima, o non più",
    ),
    "action.export": ("Export", "Esporta"),
    "action.export.help": (
        "Write this chat to a Markdown, JSON or HTML file",
        "Scrivi questa chat in un file Markdown, JSON o HTML",
    ),
    "action.delete": ("Delete chat", "Elimina la chat"),
    "action.delete.help": ("It can be brought back", "Si può recuperare"),
    "action.undo": ("Undo delete", "Annulla l’eliminazione"),
    "action.undo.help": ("Bring back the chat deleted last", "Recupera l’ultima chat eliminata"),
    "action.system": ("System prompt", "Prompt di sistema"),
    "action.system.help": (
        "What the model is told before this chat",
        "Ciò che si dice al modello prima di questa chat",
    ),
    "action.persona": ("Persona", "Persona"),
    "action.persona.help": (
        "Choose, save or remove a named system prompt",
        "Scegli, salva o elimina un prompt di sistema con un nome",
    ),
    "action.set": ("Sampling", "Campionamento"),
    "action.set.help": (
        "Temperature and the like, for this chat",
        "Temperatura e simili, per questa chat",
    ),
    "action.context": ("Context", "Contesto"),
    "action.context.help": (
        "Load the model with room for so many tokens",
        "Carica il modello con posto per tanti token",
    ),
    "action.quantize": ("Quantise", "Quantizza"),
    "action.quantize.help": (
        "Make a smaller model of a checkpoint",
        "Fai di un checkpoint un modello più piccolo",
    ),
    "action.language": ("Language", "Lingua"),
    "action.language.help": ("English or Italian", "Inglese o italiano"),
    "action.theme": ("Theme", "Tema"),
    "action.theme.help": ("Choose the colours", "Scegli i colori"),
    "action.settings": ("Settings", "Impostazioni"),
    "action.settings.help": (
        "Language, colours, thinking, sampling, keys",
        "Lingua, colori, ragionamento, campionamento, tasti",
    ),
    "action.doctor": ("Doctor", "Diagnosi"),
    "action.doctor.help": (
        "What this machine is, and whether the files are sound",
        "Che macchina è, e se i file sono integri",
    ),
    "action.help": ("Help", "Aiuto"),
    "action.help.help": ("All keys and commands", "Tutti i tasti e i comandi"),
    "action.quit": ("Quit", "Esci"),
    "action.quit.help": ("Everything is saved", "Tutto è salvato"),
}
