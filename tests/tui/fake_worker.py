"""A stand-in for the engine's worker that speaks its protocol over real pipes.

What it answers depends on the last user message, so that a test can ask for every way a child can
behave: ``slow`` streams until it is cancelled, ``think`` thinks first, ``history`` repeats what it
was sent, ``die`` is killed in mid-answer, ``exit`` leaves with an error on standard error, ``fail``
reports an error, ``garbage`` prints nonsense between two events, ``deaf`` never answers; anything
else is echoed back.
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


def read() -> None:
    for line in sys.stdin:
        record = json.loads(line)
        if record["op"] == "close":
            break
        if record["op"] == "cancel":
            cancelled.add(record["id"])
        else:
            requests.put(record)
    os._exit(0)


def say(request: int, event: str, **fields: object) -> None:
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


def load(record: dict) -> None:
    model = record["model"]
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
        context=4096,
        seconds=0.2,
        bytes=3_900_000,
        thinks=True,
        description="Qwen3-MoE, 8 experts, 4-bit",
        notices=["YaRN is on with factor 2."] if model == "stretched" else [],
    )


def chat(record: dict) -> None:
    request, text = record["id"], record["messages"][-1]["content"]
    say(request, "prefill", done=12, total=12, cached=2)
    command = text.split()[0] if text.split() else ""
    if command == "fail":
        say(request, "error", kind="ContextExceeded", what="Too long.", hint="Start a new chat.")
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
