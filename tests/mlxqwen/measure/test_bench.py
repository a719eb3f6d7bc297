from __future__ import annotations

import io
import json
from pathlib import Path

import mlx.core as mx
import pytest
from rich.console import Console
from tokenizers import Tokenizer, models, pre_tokenizers

from mlxqwen.engine.memory import Plan
from mlxqwen.errors import DoesNotFit, EngineError, ModelNotFound, UsageError
from mlxqwen.measure import bench
from mlxqwen.measure.bench import prompt_ids, run_bench, run_side
from mlxqwen.measure.tables import bench_table

KEYS = {
    "ttft_ms",
    "prefill_tok_s",
    "decode_tok_s",
    "peak_bytes",
    "peak_rss_bytes",
    "import_s",
    "load_s",
    "build_ms_per_token",
    "submit_ms_per_token",
    "bytes_per_token",
    "kernels_per_token",
    "kernels_per_layer",
    "operations_per_layer",
    "metal_build_ms_per_token",
}
# No chip is known here whose memory has a specified speed; the table is no number.
OTHER = {"bandwidth_share", "launches"}
CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "vocab_size": 300,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 256,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
    "eos_token_id": 0,
}
LAYER = {
    "self_attn.q_proj": (64, 64),
    "self_attn.k_proj": (32, 64),
    "self_attn.v_proj": (32, 64),
    "self_attn.o_proj": (64, 64),
    "self_attn.q_norm": (16,),
    "self_attn.k_norm": (16,),
    "mlp.gate_proj": (128, 64),
    "mlp.up_proj": (128, 64),
    "mlp.down_proj": (64, 128),
    "input_layernorm": (64,),
    "post_attention_layernorm": (64,),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Qwen3 of two layers with random weights and a tokenizer of bytes."""
    path = tmp_path_factory.mktemp("small")
    shapes = {"model.embed_tokens.weight": (300, 64), "model.norm.weight": (64,)}
    for i in range(2):
        shapes |= {f"model.layers.{i}.{name}.weight": shape for name, shape in LAYER.items()}
    arrays = {
        name: mx.random.normal(shape, key=mx.random.key(seed)) * (shape[-1] ** -0.5)
        if len(shape) > 1
        else mx.ones(shape)
        for seed, (name, shape) in enumerate(shapes.items())
    }
    mx.save_safetensors(str(path / "model.safetensors"), arrays, metadata={"format": "mlx"})
    (path / "config.json").write_text(json.dumps(CONFIG))
    vocabulary = {f"<{i}>": i for i in range(300)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<0>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<0>"})
    )
    return path


def test_ours_alone(small: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    result = run_bench(
        str(small), prompt=20, tokens=6, repeats=2, on_progress=lambda *step: steps.append(step)
    )
    assert steps == [("mlxqwen", 0, 2), ("mlxqwen", 1, 2)]
    record = result.to_json()
    assert set(record) >= KEYS | OTHER
    assert not {"peer", "ratio", "against"} & set(record)
    assert json.loads(json.dumps(record)) == record
    assert (record["prompt_tokens"], record["tokens"], record["repeats"]) == (20, 6, 2)
    assert all(record[key] > 0 for key in KEYS)
    assert record["prefill_tok_s"] == pytest.approx(20_000 / record["ttft_ms"])
    assert sum(record["launches"].values()) == record["kernels_per_token"]
    # The arrays are part of the process.
    assert record["peak_bytes"] < record["peak_rss_bytes"]


def test_beside_mlx_lm_on_the_same_files(small: Path) -> None:
    steps: list[str] = []
    result = run_bench(
        str(small),
        prompt=20,
        tokens=6,
        repeats=2,
        against="mlx-lm",
        on_progress=lambda side, done, total: steps.append(side),
    )
    assert steps == ["mlxqwen", "mlx-lm", "mlxqwen", "mlx-lm"]
    record = result.to_json()
    assert set(record["peer"]) == KEYS | OTHER
    assert set(record["ratio"]) == KEYS | {"bandwidth_share"}
    for key in KEYS:
        assert record["ratio"][key] == pytest.approx(record[key] / record["peer"][key])
    assert record["against"] == "mlx-lm"
    # float32 on both sides: the same greedy answer is the proof that both ran the same model.
    assert record["same_tokens"] == 6
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(bench_table(result))
    shown = console.export_text()
    for word in ("prefill", "decode", "mlx-lm", "×", "first 6 of 6"):
        assert word in shown


@pytest.mark.parametrize("side", ["mlxqwen", "mlx-lm"])
def test_an_end_token_ends_neither_side(small: Path, tmp_path: Path, side: str) -> None:
    """Every token ends the turn by this configuration; all the same so many are generated."""
    copy = tmp_path / "ends"
    copy.mkdir()
    for file in small.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "config.json").write_text(json.dumps(CONFIG | {"eos_token_id": list(range(300))}))
    run = run_side(side, copy, prompt_ids(8, 300), 5)
    assert len(run["answer"]) == 5


def test_one_token_has_no_decode_rate(small: Path) -> None:
    record = run_bench(str(small), prompt=4, tokens=1, repeats=1).to_json()
    assert record["decode_tok_s"] == 0.0
    assert record["ttft_ms"] > 0


def test_prompt_ids_are_the_same_every_time_and_within_the_vocabulary() -> None:
    ids = prompt_ids(1000, 300)
    assert ids == prompt_ids(1000, 300)
    assert min(ids) >= 0
    assert max(ids) < 300
    assert len(set(ids)) > 200


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"prompt": 0}, "prompt is 0"),
        ({"tokens": -1}, "tokens is -1"),
        ({"repeats": 0}, "repeats is 0"),
        ({"against": "llama.cpp"}, "llama.cpp"),
        ({"prompt": 250, "tokens": 7}, "context of 256"),
    ],
)
def test_requests_that_cannot_be_measured(small: Path, wrong: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        run_bench(str(small), **wrong)  # type: ignore[arg-type]


def test_an_unknown_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLXQWEN_HOME", str(tmp_path))
    with pytest.raises(ModelNotFound):
        run_bench("no-such-model-anywhere")


def test_a_model_too_large_is_refused_before_it_is_loaded(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_large = Plan(model="small", context=12, weights=100, cache=1, workspace=1, budget=10)
    monkeypatch.setattr(bench, "plan", lambda path, *, context: too_large)
    monkeypatch.setattr(bench, "run_side", lambda *_: pytest.fail("it was run"))
    with pytest.raises(DoesNotFit, match="does not fit"):
        run_bench(str(small), prompt=8, tokens=4)


@pytest.mark.parametrize("side", ["mlxqwen", "mlx-lm"])
def test_a_side_that_fails_says_which_and_why(small: Path, tmp_path: Path, side: str) -> None:
    copy = tmp_path / "damaged"
    copy.mkdir()
    (copy / "config.json").write_text((small / "config.json").read_text())
    (copy / "model.safetensors").write_bytes(b"not a safetensors file at all")
    with pytest.raises(EngineError) as caught:
        run_side(side, copy, [1, 2, 3], 2)
    assert str(copy) in caught.value.what
    assert "Traceback" not in caught.value.what
