"""mlxqwen: the Qwen3 family on a Mac, offline.

Public names are imported on first use, so that ``import mlxqwen`` costs milliseconds::

    from mlxqwen import Engine, Sampling, plan

    print(plan("guide", context=2048))
    with Engine.load("guide") as engine:
        for event in engine.chat("Hello"):
            ...

Below it, for those who want arrays::

    model, tokenizer, config = mlxqwen.load(path)
    cache = mlxqwen.make_cache(model)
    logits = model(tokens, cache)  # (B, L) -> (B, L, V)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpoint.load import load
    from .engine.engine import Engine
    from .engine.events import Done, Event, Prefill, Timings, Usage
    from .engine.memory import Plan, plan
    from .engine.run import Reply, Run
    from .errors import MlxqwenError
    from .generate.decode import generate_tokens
    from .generate.options import Sampling
    from .model.cache import make_cache
    from .text.channels import Text, Thinking, ToolCall

__version__ = "0.1.0"

_HOME = {
    "Done": ".engine.events",
    "Engine": ".engine.engine",
    "Event": ".engine.events",
    "MlxqwenError": ".errors",
    "Plan": ".engine.memory",
    "Prefill": ".engine.events",
    "Reply": ".engine.run",
    "Run": ".engine.run",
    "Sampling": ".generate.options",
    "Text": ".text.channels",
    "Thinking": ".text.channels",
    "Timings": ".engine.events",
    "ToolCall": ".text.channels",
    "Usage": ".engine.events",
    "generate_tokens": ".generate.decode",
    "load": ".checkpoint.load",
    "make_cache": ".model.cache",
    "plan": ".engine.memory",
}

__all__ = [
    "Done",
    "Engine",
    "Event",
    "MlxqwenError",
    "Plan",
    "Prefill",
    "Reply",
    "Run",
    "Sampling",
    "Text",
    "Thinking",
    "Timings",
    "ToolCall",
    "Usage",
    "__version__",
    "generate_tokens",
    "load",
    "make_cache",
    "plan",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home, __name__), name)
