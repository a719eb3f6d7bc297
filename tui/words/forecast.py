"""What is said about tokens, context and memory before something is sent."""

from __future__ import annotations

FORECAST: dict[str, tuple[str, str]] = {
    "forecast.token": ("{n} tok", "{n} token"),
    "forecast.tokens": ("{n} tok", "{n} token"),
    "forecast.full": (
        "Not sent: the conversation would have {tokens} tokens, and the model has room for "
        "{context}.",
        "Non inviato: la conversazione avrebbe {tokens} token, e il modello ha posto per "
        "{context}.",
    ),
    "forecast.memory": (
        "Not sent: the answer would need {needed} of memory, and there are {budget}.",
        "Non inviato: la risposta richiederebbe {needed} di memoria, e ce ne sono {budget}.",
    ),
    "forecast.larger_context": (
        "/context {larger} loads the model with room for it; or shorten it, or start a new chat "
        "with {new}.",
        "/context {larger} carica il modello con posto a sufficienza; oppure accorcia, o comincia "
        "una nuova chat con {new}.",
    ),
    "forecast.shorten": (
        "Shorten what you send, edit an earlier message, or start a new chat with {new}; a model "
        "that needs less leaves room for more ({models}).",
        "Accorcia ciò che invii, modifica un messaggio precedente, o comincia una nuova chat con "
        "{new}; un modello più piccolo lascia più posto ({models}).",
    ),
    "forecast.smaller_model": (
        "Close other programs, or choose a smaller model with {models}.",
        "Chiudi altri programmi, o scegli un modello più piccolo con {models}.",
    ),
    "context.now": (
        "The model has room for {context} tokens; /context NUMBER loads it with another.",
        "Il modello ha posto per {context} token; /context NUMERO lo carica con un altro.",
    ),
    "context.none": (
        "No model is loaded; /context NUMBER says how many tokens the next one gets.",
        "Nessun modello è caricato; /context NUMERO dice quanti token avrà il prossimo.",
    ),
    "context.unknown": (
        "{value} is no number of tokens: give one such as 16384 or 16k, or auto for as many as "
        "fit.",
        "{value} non è un numero di token: scrivine uno come 16384 o 16k, o auto per quanti ne "
        "entrano.",
    ),
}
