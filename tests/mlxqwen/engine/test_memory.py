"""Plans: from headers alone, to the byte where bytes are known, and monotone in the context."""

import subprocess
import sys
from pathlib import Path

import mlx.core as mx

from mlxqwen import plan
from mlxqwen.checkpoint.load import load_model
from mlxqwen.engine.memory import readable
from mlxqwen.model.cache import make_cache
from mlxqwen.model.linear import arrays_of


def test_weights_and_cache_are_exact(tiny: Path) -> None:
    planned = plan(tiny, context=300)
    model, _ = load_model(tiny)
    arrays = {id(array): array.nbytes for array in arrays_of(model)}
    assert planned.weights == sum(arrays.values())
    cache = make_cache(model)
    model(mx.zeros((1, 300), mx.int32), cache)
    assert planned.cache == cache.nbytes


def test_longer_contexts_need_more(tiny: Path) -> None:
    totals = [plan(tiny, context=tokens).total for tokens in (256, 1024, 2048, 4096)]
    assert totals == sorted(totals)


def test_the_longest_context_that_fits_is_chosen(tiny: Path) -> None:
    assert plan(tiny).context == 1024
    assert not plan(tiny, budget=1000).fits
    text = str(plan(tiny, budget=1000))
    assert "does not fit" in text
    assert "weights" in text


def test_planning_loads_no_mlx(tiny: Path) -> None:
    code = (
        "import sys; from mlxqwen import plan; plan(sys.argv[1]);"
        "sys.exit(any(name.split('.')[0] == 'mlx' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tiny)], check=False).returncode == 0


def test_bytes_as_people_read_them() -> None:
    assert [readable(n) for n in (999, 12_000, 3_400_000, 18_000_000_000)] == [
        "1 KB",
        "12 KB",
        "3.4 MB",
        "18.0 GB",
    ]
