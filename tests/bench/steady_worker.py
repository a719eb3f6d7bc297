"""An engine for measuring: it speaks the worker's protocol and writes at a steady rate.

A question is ``RATE SECONDS WHAT``, all of it optional: pieces a second, for how long, and a name
of ``TEXTS`` or ``stamps`` (each piece is then the time it was made). What happened is appended to
the file given on the command line, one JSON object per answer and per cancellation.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from typing import Any

PIECE = 4  # characters
MIXED = """## Perché 4 bit?

La memoria **unificata** è il limite: un modello da `30B` in bf16 occupa 60 GB, a 4 bit 17 GB.
See [the paper](https://example.org/paper) for *details*, costs $5 and $E = mc^2$.

1. Leggi i pesi
   - gruppo di 64
   - scala e minimo
2. Arrotonda 👩‍💻

| formato | bit | errore |
|:--------|----:|:------:|
| bf16 | 16 | 0 |
| 量子化 | 4 | 0.02 |

```python
def quantise(w, bits=4, group=64):
    w = w.reshape(-1, group)  # (n, group)
    scale = (w.max(1) - w.min(1)) / (2**bits - 1)
    return ((w - w.min(1)) / scale).round()
```

> 量子化すると、モデルは小さくなり、速くなる。精度はほとんど変わらない。

"""
_ROWS = range(600)
TEXTS = {
    "mixed": MIXED,
    "list": "".join(f"- item {i} with **bold** and `code` in it\n" for i in _ROWS)[:10_240],
    "table": ("| n | name | value |\n|---|---|---|\n")
    + "".join(f"| {i} | name **{i}** | some `value` {i * 7} |\n" for i in _ROWS)[:10_240],
    "code": "```python\n"
    + "".join(f"def f{i}(x):\n    return x + {i}  # {i}\n" for i in _ROWS)[:10_240],
    "paragraph": "".join(f"word{i} and *some* more " for i in _ROWS)[:10_240],
    "quotes": "".join(f"> > > - quoted **{i}** and `code`\n" for i in _ROWS)[:10_240],
    "CJK": "量子化すると、モデルは小さくなる。" * 200,
}


class Worker:
    """Answers one question at a time on the main thread; another reads."""

    def __init__(self, log: str) -> None:
        self.log = log
        self.asked: SimpleQueue[dict[str, Any]] = SimpleQueue()
        self.cancelled: set[int] = set()
        self.saying = threading.Lock()
        self.waited = 0.0  # seconds for a full pipe

    def read(self) -> None:
        for line in sys.stdin.buffer:
            record = json.loads(line)
            if record["op"] == "cancel":
                self.note(cancelled=time.time())
                self.cancelled.add(record["id"])
            elif record["op"] == "forecast":
                self.say(record["id"], "error", kind="TemplateError", what="Not here.", hint="")
            elif record["op"] == "close":
                break
            else:
                self.asked.put(record)
        os._exit(0)

    def note(self, **fields: object) -> None:
        with Path(self.log).open("a") as log:
            log.write(json.dumps(fields) + "\n")

    def say(self, request: int, event: str, **fields: object) -> None:
        line = json.dumps({"id": request, "event": event, **fields}).encode() + b"\n"
        with self.saying:
            began = time.perf_counter()
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
            self.waited += time.perf_counter() - began

    def load(self, record: dict[str, Any]) -> None:
        self.say(
            record["id"],
            "loaded",
            model=record["model"],
            path="/models/steady",
            context=32_768,
            seconds=0.0,
            bytes=1,
            thinks=False,
            description="Steady",
        )

    def chat(self, record: dict[str, Any]) -> None:
        request = record["id"]
        rate, seconds, what, *_ = [*record["messages"][-1]["content"].split(), *"111"]
        total = int(int(rate) * float(seconds))
        text = TEXTS.get(what, "")
        self.say(request, "prefill", done=1, total=1, cached=0)
        began, cpu, self.waited = time.time(), time.process_time(), 0.0
        sent = 0
        while sent < total and request not in self.cancelled:
            piece = text[(PIECE * sent) % len(text) :][:PIECE] if text else f"{time.time():.3f} "
            self.say(request, "text", text=piece)
            sent += 1
            time.sleep(max(0.0, began + sent / int(rate) - time.time()))
        ended = time.time()
        self.note(
            began=began,
            ended=ended,
            asked=int(rate),
            rate=sent / (ended - began),
            waited=self.waited,
            cpu=time.process_time() - cpu,
        )
        reason = "cancelled" if request in self.cancelled else "stop"
        usage = {"prompt_tokens": 1, "cached_tokens": 0, "completion_tokens": sent}
        timings = {"prefill": 0.0, "first_token": 0.0, "total": ended - began, "thinking": 0.0}
        self.say(
            request,
            "done",
            reason=reason,
            usage={**usage, "thinking_tokens": 0},
            timings=timings,
        )

    def run(self) -> None:
        threading.Thread(target=self.read, daemon=True).start()
        while True:
            record = self.asked.get()
            (self.load if record["op"] == "load" else self.chat)(record)


if __name__ == "__main__":
    Worker(sys.argv[1]).run()
