"""Fetches a model from the Hugging Face hub: the one place that opens a network connection.

Files go into the hub's standard cache, where every program finds them; what was fetched before an
interruption is kept and not fetched again.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from ..errors import HubError, MlxqwenError, ModelNotFound, OutputError
from .catalogue import find
from .library import is_complete, unknown_name

# Weights in safetensors, and what configures and tokenises them; never code or pickles.
_WANTED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "merges.txt"]
_UNWANTED = ["*/*", "consolidated*"]


def hub_id(name: str) -> str:
    """What to fetch for ``name``: a hub id is itself, an alias its 4-bit MLX conversion.

    Raises:
        ModelNotFound: ``name`` is neither.
    """
    known = find(name)
    if known is None:
        if name.count("/") != 1:
            raise ModelNotFound(*unknown_name(name))
        return name
    return name if "/" in name else (*known.mlx_ids, known.hub_id)[0]


def pull(name: str, *, quiet: bool = False) -> Path:
    """Fetches the model called ``name`` and returns its folder in the hub cache.

    Args:
        name: An alias or a hub id (``ORG/NAME``).
        quiet: No progress bars on standard error.

    Raises:
        HubError: The hub was unreachable, refused, or sent an incomplete model.
        OutputError: The disk is full or the cache cannot be written.
        ModelNotFound: As ``hub_id``.
    """
    wanted = hub_id(name)
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, XetDownloadError
    from huggingface_hub.utils import disable_progress_bars

    # The client's HTTP library differs between its versions; every error of it has this base.
    transport: type[Exception] = HfHubHTTPError.__bases__[0]
    client: Any = huggingface_hub  # its functions have no complete types
    if quiet:
        disable_progress_bars()
    try:
        folder = Path(
            client.snapshot_download(wanted, allow_patterns=_WANTED, ignore_patterns=_UNWANTED)
        )
    except HFValidationError as error:
        raise ModelNotFound(f"{wanted!r} is no name on the hub.", "Names are ORG/NAME.") from error
    except HfHubHTTPError as error:
        raise _refused(wanted, error.response.status_code) from error
    except (OSError, XetDownloadError, transport) as error:
        # The client wraps what the hub said when nothing in the cache can stand in for it.
        if isinstance(error.__cause__, HfHubHTTPError):
            raise _refused(wanted, error.__cause__.response.status_code) from error
        raise _failed(wanted, error) from error
    if not is_complete(folder):
        raise HubError(
            f"{wanted} has no safetensors weights with a config.json.",
            "Choose a repository with the weights in that form.",
        )
    return folder


def _refused(wanted: str, status: int) -> HubError:
    if status in {401, 403, 404}:
        return HubError(
            f"The hub has no {wanted}, or not for everybody (status {status}).",
            "Check the name; for a gated model accept its terms on the hub, then `hf auth login`.",
        )
    if status == 429:
        return HubError("The hub asks for a pause (status 429).", "Try again in a few minutes.")
    return HubError(
        f"The hub answered with status {status}.", "Try again later: what is here is kept."
    )


def _failed(wanted: str, error: BaseException) -> MlxqwenError:
    full = isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}
    denied = isinstance(error, PermissionError)
    if full or denied:
        return OutputError(
            f"{wanted} could not be written: {error}.",
            "Free some space, or let HF_HOME name another disk; what is here is kept.",
        )
    return HubError(
        f"{wanted} could not be fetched: {_first_line(error)}.",
        "Check the connection and try again: what is here is kept.",
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
