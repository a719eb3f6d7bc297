"""What the settings say."""

from __future__ import annotations

SETTINGS: dict[str, tuple[str, str]] = {
    "settings.title": ("Settings", "Impostazioni"),
    "settings.hint": (
        "↑↓ ←→ Enter · Del default · Esc",
        "↑↓ ←→ Invio · Canc default · Esc",
    ),
    "settings.look": ("Look", "Aspetto"),
    "settings.model_group": ("Model", "Modello"),
    "settings.answers": ("Answers", "Risposte"),
    "settings.sampling": ("Sampling", "Campionamento"),
    "settings.keys": ("Keys", "Tasti"),
    "settings.language": ("Language", "Lingua"),
    "settings.language.help": (
        "Of the interface; models answer in the language of the question.",
        "Dell’interfaccia; i modelli rispondono nella lingua della domanda.",
    ),
    "settings.system_language": ("system ({name})", "sistema ({name})"),
    "settings.theme": ("Theme", "Tema"),
    "settings.theme.help": (
        "Colours. “plain” uses the terminal’s own sixteen.",
        "I colori. «plain» usa i sedici del terminale.",
    ),
    "settings.model": ("Model at the start", "Modello iniziale"),
    "settings.model.help": (
        "What is loaded when the chat opens.",
        "Ciò che si carica quando si apre la chat.",
    ),
    "settings.model_last": ("the one used last", "l’ultimo usato"),
    "settings.context": ("Context", "Contesto"),
    "settings.context.help": (
        "Tokens to make room for: a longer chat takes more memory. From the next load on.",
        "Token per cui far posto: una chat più lunga chiede più memoria. Dal prossimo caricamento.",
    ),
    "settings.context_auto": ("as fits", "quanto ci sta"),
    "settings.context_tokens": ("{number} tokens", "{number} token"),
    "settings.think": ("Thinking", "Ragionamento"),
    "settings.think.help": (
        "Whether models that can think do so before they answer.",
        "Se i modelli che sanno ragionare lo fanno prima di rispondere.",
    ),
    "settings.think_auto": ("up to the model", "decide il modello"),
    "settings.on": ("on", "sì"),
    "settings.off": ("off", "no"),
    "settings.thoughts": ("Show thoughts", "Mostra i ragionamenti"),
    "settings.thoughts.help": (
        "Whether what a model thought is shown at all.",
        "Se ciò che un modello ha pensato si vede.",
    ),
    "settings.notify": ("Notify", "Avvisa"),
    "settings.notify.help": (
        "Let the terminal tell when a long answer ends while you look elsewhere.",
        "Fai avvisare il terminale quando una lunga risposta finisce e guardi altrove.",
    ),
    "settings.sampling_default": ("the model’s own", "quello del modello"),
    "settings.sampling.temperature": ("Temperature", "Temperatura"),
    "settings.sampling.temperature.help": (
        "0 always takes the likeliest word; higher is more varied.",
        "0 prende sempre la parola più probabile; più alta, più varietà.",
    ),
    "settings.sampling.top_p": ("Top p", "Top p"),
    "settings.sampling.top_p.help": (
        "Keep the likeliest words whose probabilities reach this sum; 1 keeps all.",
        "Tieni le parole più probabili fino a questa somma; 1 le tiene tutte.",
    ),
    "settings.sampling.top_k": ("Top k", "Top k"),
    "settings.sampling.top_k.help": (
        "Keep this many words; 0 keeps all.",
        "Tieni tante parole; 0 le tiene tutte.",
    ),
    "settings.sampling.min_p": ("Min p", "Min p"),
    "settings.sampling.min_p.help": (
        "Drop words below this share of the likeliest one’s probability.",
        "Scarta le parole sotto questa frazione della più probabile.",
    ),
    "settings.sampling.presence": ("Presence penalty", "Penalità di presenza"),
    "settings.sampling.presence.help": (
        "Makes words less likely that the answer already contains.",
        "Rende meno probabili le parole già presenti nella risposta.",
    ),
    "settings.sampling.repetition": ("Repetition penalty", "Penalità di ripetizione"),
    "settings.sampling.repetition.help": (
        "Above 1, what was said becomes less likely; 1 changes nothing.",
        "Sopra 1, ciò che fu detto diventa meno probabile; 1 non cambia nulla.",
    ),
    "settings.sampling.seed": ("Seed", "Seme"),
    "settings.sampling.seed.help": (
        "The same seed gives the same answer on the same machine.",
        "Lo stesso seme dà la stessa risposta sulla stessa macchina.",
    ),
    "settings.sampling.max_tokens": ("Longest answer", "Risposta più lunga"),
    "settings.sampling.max_tokens.help": (
        "Tokens after which an answer ends.",
        "Token dopo i quali una risposta finisce.",
    ),
    "settings.key_none": ("none", "nessuno"),
    "settings.key_help": (
        "Enter, then the new key. {about}.",
        "Invio, poi il nuovo tasto. {about}.",
    ),
    "settings.press": ("Press the key for “{action}”", "Premi il tasto per «{action}»"),
    "settings.press_hint": (
        "Esc leaves it · Backspace none · Del default",
        "Esc lascia · Backspace nessuno · Canc default",
    ),
    "settings.number_hint": (
        "Enter keeps it · empty for the default · Esc leaves it",
        "Invio conferma · vuoto per il default · Esc lascia",
    ),
    "settings.not_number": ("“{text}” is not a number.", "«{text}» non è un numero."),
    "settings.not_whole": (
        "“{text}” is not a whole number.",
        "«{text}» non è un numero intero.",
    ),
    "settings.between": (
        "It must be between {low} and {high}.",
        "Dev’essere fra {low} e {high}.",
    ),
    "settings.at_least": ("It must be at least {low}.", "Dev’essere almeno {low}."),
    "settings.search_model": ("a part of the name", "una parte del nome"),
    "settings.unreadable": (
        "{path} cannot be read and is left as it is: {error}.",
        "{path} non si può leggere e resta com’è: {error}.",
    ),
    "settings.unusable": (
        "{file}: {name} = {value} is not usable and was left out.",
        "{file}: {name} = {value} non è utilizzabile ed è tralasciato.",
    ),
    "settings.no_theme": (
        "There is no theme “{name}”; {used} is used.",
        "Non c’è un tema «{name}»; si usa {used}.",
    ),
    "settings.no_language": (
        "“{name}” is not spoken here: en or it.",
        "«{name}» qui non si parla: en o it.",
    ),
    "settings.damaged": (
        "{path} is not valid TOML, so nothing was saved: {error}.",
        "{path} non è TOML valido, perciò nulla è stato salvato: {error}.",
    ),
    "settings.mend": ("Mend or remove it.", "Correggilo o eliminalo."),
    "settings.unwritable": (
        "{path} cannot be written: {error}.",
        "{path} non si può scrivere: {error}.",
    ),
    "settings.elsewhere": (
        "Set MLXQWEN_HOME to a folder of yours.",
        "Imposta MLXQWEN_HOME su una tua cartella.",
    ),
    "palette.wanted": ("What to do…", "Che cosa fare…"),
    "theme.title": ("Theme", "Tema"),
    "theme.wanted": ("a part of the name", "una parte del nome"),
}
