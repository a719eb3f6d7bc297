"""One tree of errors: each message says what is wrong, where, and what to do next.

An error that a user can cause carries two sentences: ``what`` (naming the file, key or limit) and
``hint`` (the next step). The command line prints both and exits with ``exit_code``; a traceback
appears only under ``--debug``.
"""


class MlxqwenError(Exception):
    """Root of every error that mlxqwen raises on purpose.

    Args:
        what: One sentence that names the file, key or limit at fault.
        hint: One sentence with the next step, or "" where ``what`` already contains it.
    """

    exit_code = 1

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what, hint)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what} {self.hint}".strip()


class CheckpointError(MlxqwenError):
    """Files of a model are missing, damaged, inconsistent or unsafe to follow."""


class UnsupportedModel(MlxqwenError):
    """A configuration or tensor layout whose mathematics this runtime does not implement."""


class ModelNotFound(MlxqwenError):
    """No model of that name is on this machine."""


class TokenizerError(MlxqwenError):
    """Tokenizer files are missing or cannot be read."""


class TemplateError(MlxqwenError):
    """A chat template cannot be compiled, refuses the conversation, or does not end."""


class DoesNotFit(MlxqwenError):
    """Weights, cache and workspace together need more memory than this machine gives.

    ``plan`` is the ``mlxqwen.engine.memory.Plan`` that says so.
    """

    def __init__(self, what: str, hint: str = "", plan: object = None) -> None:
        super().__init__(what, hint)
        self.plan = plan


class ContextExceeded(MlxqwenError):
    """A prompt is longer than the context that was loaded, or a context than the model allows."""


class EngineError(MlxqwenError):
    """The engine is closed, has died, or was used in a way it does not support."""


class OutputError(MlxqwenError):
    """A result could not be written: disk full, folder not ours, no permission."""


class HubError(MlxqwenError):
    """The model hub refused, was unreachable, or sent something else than promised."""


class UsageError(MlxqwenError):
    """A command was called with arguments that cannot go together."""

    exit_code = 2
