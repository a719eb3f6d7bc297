"""What an import costs, stated as the modules that it loads."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "mlx",
    "mlx_lm",
    "transformers",
    "torch",
    "numpy",
    "tokenizers",
    "jinja2",
    "huggingface_hub",
    "httpx",
    "requests",
    "textual",
    "rich",
    "typer",
}


def loaded_by(code: str) -> set[str]:
    """Top-level names of the modules that a fresh interpreter holds after ``code``."""
    script = (
        f"import sys\n{code}\n"
        "import json\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_runtime_loads_nothing_heavy() -> None:
    assert loaded_by("import mlxqwen; mlxqwen.__version__") & HEAVY == set()


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_loads_neither_mlx_nor_textual(argument: str) -> None:
    code = (
        f"sys.argv = ['mlxqwen', {argument!r}]\n"
        "from tui.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as leaving:\n    assert not leaving.code\n"
    )
    loaded = loaded_by(code)
    assert "tui" in loaded
    assert loaded & {"mlx", "textual", "mlx_lm", "transformers", "numpy", "tokenizers"} == set()


def test_finding_models_loads_nothing_heavy() -> None:
    code = "from mlxqwen.hub.library import local_models; local_models()"
    assert loaded_by(code) & (HEAVY - {"rich", "typer"}) == set()
