"""A stand-in for the engine's worker that speaks its protocol over real pipes.

What it answers depends on the last user message, so that a test can ask for every way a child can
behave: ``slow`` streams until it is cancelled, ``think`` thinks first, ``history`` repeats what it
was sent, ``die`` is killed in mid-answer, ``exit`` leaves with an error on standard error, ``fail``
reports an error, ``garbage`` prints nonsense between two events, ``deaf`` never answers, ``call``
calls a tool, ``options`` says what it was asked with, ``raw`` repeats the JSON string after it as
text and thought, ``sentence`` the one after it as an error, ``flood`` is a megabyte in one line;
anything else is echoed back. A model called ``evil…`` describes itself with its name.

A forecast counts words as tokens. Of ``long``, ``endless`` and ``heavy`` it says that a larger
context, a shorter conversation, or a smaller model is needed; of ``unforeseen`` nothing.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time

requests: queue.Queue = queue.Queue()
cancelled: set[int] = set()
saying = threading.Lock()


def read() -> None:
    for line in sys.stdin.buffer:
        record = json.loads(line)
        if record["op"] == "close":
            break
        if record["op"] == "cancel":
            cancelled.add(record["id"])
        elif record["op"] == "forecast":
            forecast(record)
        else:
            requests.put(record)
    os._exit(0)


def say(request: int, event: str, **fields: object) -> None:
    with saying:  # two threads speak
        print(json.dumps({"id": request, "event": event, **fields}), flush=True)


def done(request: int, reason: str, tokens: int, thinking: float = 0.0) -> None:
    say(
        request,
        "done",
        reason=reason,
        usage={
            "prompt_tokens": 12,
            "cached_tokens": 2,
            "completion_tokens": tokens,
            "thinking_tokens": 3 if thinking else 0,
        },
        timings={"prefill": 0.1, "first_token": 0.2, "total": 1.2, "thinking": thinking},
    )


context = 4096
CALL = '{"name": "weather", "arguments": {"city": "Forlì"}}'


def forecast(record: dict) -> None:
    counts = [len(message["content"].split()) for message in record["messages"]]
    words = record["messages"][-1]["content"].split() or [""]
    if words[0] == "unforeseen":
        say(record["id"], "error", kind="TemplateError", what="It refuses.", hint="")
        return
    advice = {"long": "larger_context", "endless": "shorten", "heavy": "smaller_model"}
    if words[0] in advice and context > 4096:
        advice = {}
    say(
        record["id"],
        "forecast",
        prompt_tokens=sum(counts) + 4 * len(counts),
        cached_tokens=sum(counts[:-1]),
        draft_tokens=counts[-1],
        answer_tokens=1024,
        context=context,
        held=3_900_000_000,
        needed=4_200_000_000,
        needed_at_most=5_000_000_000,
        budget=16_000_000_000,
        advice=advice.get(words[0], ""),
        larger_context=8192 if advice.get(words[0]) == "larger_context" else 0,
    )


def load(record: dict) -> None:
    global context
    model = record["model"]
    context = record["context"] or 4096
    if model == "missing":
        say(
            record["id"],
            "error",
            kind="ModelNotFound",
            what="No model called missing is on this machine.",
            hint="See what is there with `mlxqwen models`.",
        )
        return
    if model == "deadly":
        os.kill(os.getpid(), signal.SIGKILL)
    say(
        record["id"],
        "loaded",
        model=model,
        path=f"/models/{model}",
        context=context,
        seconds=0.2,
        bytes=3_900_000,
        thinks=True,
        description=model if model.startswith("evil") else "Qwen3-MoE, 8 experts, 4-bit",
        notices=["YaRN is on with factor 2."]
        if model == "stretched"
        else [model]
        if model.startswith("evil")
        else [],
    )


def chat(record: dict) -> None:
    request, text = record["id"], record["messages"][-1]["content"]
    say(request, "prefill", done=12, total=12, cached=2)
    command = text.split()[0] if text.split() else ""
    if command == "fail":
        say(request, "error", kind="ContextExceeded", what="Too long.", hint="Start a new chat.")
    elif command == "call":
        say(request, "text", text="Let me look. ")
        say(request, "tool_call", name="weather", arguments={"city": "Forlì"}, raw=CALL)
        done(request, "tool_calls", 9)
    elif command == "options":
        chosen = {name: record[name] for name in ("think", "sampling", "max_tokens")}
        say(request, "text", text=json.dumps(chosen))
        done(request, "stop", 1)
    elif command == "raw":
        raw = json.loads(text.removeprefix("raw "))
        say(request, "thinking", text=raw)
        for character in raw:  # what is cut in the middle must be as harmless
            say(request, "text", text=character)
        done(request, "stop", 2)
    elif command == "sentence":
        raw = json.loads(text.removeprefix("sentence "))
        say(request, "text", text="Until here. ")
        say(request, "error", kind="EngineError", what=raw, hint=raw)
    elif command == "flood":
        say(request, "text", text="x" * 1_000_000)
        say(request, "text", text="\n\na" + "\u200b" * 100_000 + "\u0301" * 50_000 + "\n")
        done(request, "stop", 3)
    elif command == "deaf":
        time.sleep(3600)
    elif command == "exit":
        say(request, "text", text="So far ")
        print("libmetal: assertion failed", file=sys.stderr, flush=True)
        os._exit(3)
    elif command == "die":
        say(request, "text", text="Half an answer, ")
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)
    elif command == "slow":
        words = 0
        while request not in cancelled and words < 10_000:
            say(request, "text", text=f"word{words} ")
            words += 1
            time.sleep(0.01)
        done(request, "cancelled" if request in cancelled else "length", words)
    else:
        if command == "think":
            say(request, "thinking", text="Let me ")
            say(request, "thinking", text="see.")
        if command == "garbage":
            print("not json\n[1, 2]\n{}\n" + '{"id": "x"}\n{"id": 1, "event": "odd"}', flush=True)
            sys.stdout.buffer.write(b"\xff\xfe\n")
            sys.stdout.flush()
        answer = f"You said: **{text}**"
        if command == "history":
            answer = "/".join(message["content"] for message in record["messages"])
        for word in answer.split(" "):
            say(request, "text", text=word + " ")
        done(request, "stop", len(answer.split()), 3.1 if command == "think" else 0.0)


threading.Thread(target=read, daemon=True).start()
while True:
    asked = requests.get()
    {"load": load, "chat": chat}[asked["op"]](asked)
