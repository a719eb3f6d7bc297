"""mlxqwen: the Qwen3 family on a Mac, offline.

Public names are imported on first use, so that ``import mlxqwen`` costs milliseconds::

    from mlxqwen import Engine, Sampling, plan

    print(plan("guide", context=4096))
    with Engine.load("guide") as engine:
        for event in engine.chat("Hello"):
            ...
"""

__version__ = "0.1.0"
