"""What is said where the engine, the disk or the program itself lets one down."""

from __future__ import annotations

TROUBLE: dict[str, tuple[str, str]] = {
    "engine.killed": (
        "The engine was killed; the system does that when memory runs out. A shorter context "
        "(/context) or a smaller model takes less.",
        "Il motore è stato terminato; il sistema lo fa quando la memoria finisce. Un contesto più "
        "corto (/context) o un modello più piccolo ne prendono meno.",
    ),
    "engine.crashed": ("The engine crashed ({name}).", "Il motore si è schiantato ({name})."),
    "engine.ended": (
        "The engine ended by itself (exit status {code}).",
        "Il motore è finito da sé (stato d’uscita {code}).",
    ),
    "engine.unstarted": (
        "The engine could not be started: {error}.",
        "Il motore non si è potuto avviare: {error}.",
    ),
    "engine.absent": ("The engine is not running.", "Il motore non è in funzione."),
    "disk.full": (
        "Free some disk space; what is on the screen is kept and saved again.",
        "Libera un po’ di disco; ciò che è sullo schermo è tenuto e salvato di nuovo.",
    ),
    "disk.damaged": (
        "The file may be damaged: move it away to start afresh, or restore a *.backup.",
        "Il file può essere danneggiato: spostalo per ricominciare, o ripristina un *.backup.",
    ),
    "disk.copy": (
        "What is on the screen is kept; copy it before you leave.",
        "Ciò che è sullo schermo è tenuto; copialo prima di uscire.",
    ),
    "disk.unsaved": (
        "The conversation could not be saved in {path}",
        "La conversazione non si è potuta salvare in {path}",
    ),
    "disk.unread": (
        "The conversations in {path} could not be read",
        "Le conversazioni in {path} non si sono potute leggere",
    ),
    "disk.read_only": (
        "Another mlxqwen is open, so conversations are read-only in this one.",
        "C’è un altro mlxqwen aperto, perciò in questo le conversazioni sono di sola lettura.",
    ),
    "disk.close_other": (
        "Close the other window, then start this one again.",
        "Chiudi l’altra finestra, poi riavvia questo.",
    ),
    "disk.newer": (
        "The conversations in {path} were written by a newer mlxqwen "
        "(version {version}; this one knows {known}).",
        "Le conversazioni in {path} sono state scritte da un mlxqwen più recente "
        "(versione {version}; questo conosce la {known}).",
    ),
    "disk.update": (
        "Update mlxqwen, or move that file away to start afresh.",
        "Aggiorna mlxqwen, o sposta quel file per ricominciare.",
    ),
    "disk.older": (
        "The conversations in {path} are open in an older mlxqwen.",
        "Le conversazioni in {path} sono aperte in un mlxqwen più vecchio.",
    ),
    "disk.close_older": (
        "Close that one, then start this one again.",
        "Chiudi quello, poi riavvia questo.",
    ),
    "disk.folder": (
        "The folder {path} cannot be written: {error}.",
        "La cartella {path} non si può scrivere: {error}.",
    ),
    "disk.unopened": (
        "The conversations in {path} cannot be opened: {error}.",
        "Le conversazioni in {path} non si possono aprire: {error}.",
    ),
    "disk.move": (
        "Move that file away to start afresh; backups lie beside it as *.backup.",
        "Sposta quel file per ricominciare; accanto ci sono le copie *.backup.",
    ),
    "program.mistake": (
        "The chat ended because of a mistake in it ({what}).",
        "La chat è finita per un suo errore ({what}).",
    ),
    "program.saved": (
        "Everything said is saved; `mlxqwen --debug` shows where it happened.",
        "Tutto ciò che è stato detto è salvato; `mlxqwen --debug` mostra dove è successo.",
    ),
}
