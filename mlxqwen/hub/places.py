"""Where on this machine models and everything that mlxqwen keeps lie.

Nothing here looks whether they do: a start needs these paths and nothing that reads models.
"""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

import platformdirs

GUIDE = "guide"


def data_folder() -> Path:
    """The folder of everything mlxqwen keeps: ``MLXQWEN_HOME``, or the user's data folder."""
    override = os.environ.get("MLXQWEN_HOME")
    if override:
        return Path(override).expanduser()
    return Path(platformdirs.user_data_dir("mlxqwen", appauthor=False))


def models_folder() -> Path:
    """Our own folder of models; it may not exist yet."""
    return data_folder() / "models"


def kernel_record() -> Path:
    """What trials of fused kernels found on this machine; it may not exist yet."""
    return data_folder() / "kernels.json"


def hub_cache() -> Path:
    """The Hugging Face hub's cache, by the environment variables that its own library obeys."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return Path(os.environ[variable]).expanduser()
    if os.environ.get("HF_HOME"):
        return Path(os.environ["HF_HOME"]).expanduser() / "hub"
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "huggingface" / "hub"


def lm_studio_folders() -> tuple[Path, ...]:
    """Where LM Studio keeps its models, the present place first."""
    home = Path.home()
    return (home / ".lmstudio" / "models", home / ".cache" / "lm-studio" / "models")


def guide_folder() -> Path:
    """The tiny model that ships with the program."""
    return Path(str(files("mlxqwen"))) / "builtin" / GUIDE
