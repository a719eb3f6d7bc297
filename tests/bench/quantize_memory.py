"""Peak memory and wall time of our quantiser and of mlx_lm.convert on the same checkpoint.

    python tests/bench/quantize_memory.py --gigabytes 4 --layout moe [--folder DIR] [--repeat 1]

Makes a synthetic bfloat16 checkpoint with the layer shapes of Qwen3-4B (dense) or Qwen3-30B-A3B
(moe, one tensor per expert), as many layers as fit, runs each quantiser as a child process in
turn, and prints one JSON line per run. All files are deleted at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from math import prod
from pathlib import Path
from typing import Any

from mlxqwen.checkpoint.expected import expected_tensors
from mlxqwen.checkpoint.safetensors import SafetensorsWriter
from mlxqwen.model.config import ModelConfig

COMMON: dict[str, Any] = {
    "hidden_act": "silu",
    "head_dim": 128,
    "num_attention_heads": 32,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1000000,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "vocab_size": 151936,
    "attention_bias": False,
}
DENSE: dict[str, Any] = COMMON | {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_key_value_heads": 8,
}
MOE: dict[str, Any] = COMMON | {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_key_value_heads": 4,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 768,
    "norm_topk_prob": True,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
SHARD_BYTES = 4 << 30

# Child programs: each quantises argv[1] into argv[2].
OURS = "import sys, pathlib, quantize; quantize.quantise(*map(pathlib.Path, sys.argv[1:]))"
THEIRS = "import sys, mlx_lm; mlx_lm.convert(sys.argv[1], sys.argv[2], quantize=True)"


def make_checkpoint(folder: Path, fields: dict[str, Any], nbytes: int) -> int:
    """Write a checkpoint of at most ``nbytes``, at least one layer; its size."""
    layers, total = 0, 0
    tensors: list[tuple[str, str, tuple[int, ...]]] = []
    while total <= nbytes or layers <= 1:
        layers += 1
        chosen, tensors, total = tensors, source_tensors(fields | {"num_hidden_layers": layers}), 0
        total = sum(2 * prod(shape) for _, _, shape in tensors)
    config = fields | {"num_hidden_layers": layers - 1}
    (folder / "config.json").write_text(json.dumps(config))
    shards: list[list[tuple[str, str, tuple[int, ...]]]] = [[]]
    filled = 0
    for tensor in chosen:
        if filled + 2 * prod(tensor[2]) > SHARD_BYTES:
            shards.append([])
            filled = 0
        shards[-1].append(tensor)
        filled += 2 * prod(tensor[2])
    # Finite bfloat16 numbers of mixed sign around 2⁻⁷; repeated, since values do not matter here.
    rng = random.Random(1)
    high = bytes(rng.choice((0x3B, 0x3C, 0xBB, 0xBC)) for _ in range(1 << 20))
    block = bytes(b for pair in zip(rng.randbytes(1 << 20), high, strict=True) for b in pair)
    for number, shard in enumerate(shards, start=1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        with SafetensorsWriter(folder / name, shard, {"format": "pt"}) as writer:
            for tensor, _, shape in shard:
                size = 2 * prod(shape)
                for at in range(0, size, len(block)):
                    writer.write(tensor, block[: size - at], offset=at)
    return sum(2 * prod(shape) for _, _, shape in chosen)


def source_tensors(fields: dict[str, Any]) -> list[tuple[str, str, tuple[int, ...]]]:
    """The released layout: experts one by one."""
    found: list[tuple[str, str, tuple[int, ...]]] = []
    for name, shape in expected_tensors(ModelConfig.parse(fields)):
        if ".switch_mlp." in name:
            singles = (name.replace(".switch_mlp.", f".experts.{n}.") for n in range(shape[0]))
            found += [(single, "BF16", shape[1:]) for single in singles]
        else:
            found.append((name, "BF16", shape))
    return found


def add_tokenizer(folder: Path) -> None:
    """mlx_lm.convert loads a tokenizer and writes it anew, so it needs one."""
    from tokenizers import Tokenizer, models

    Tokenizer(models.BPE({"a": 0, "b": 1}, [])).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')


def measure(program: str, source: Path, output: Path) -> dict[str, float]:
    """Run one child: peak RSS in MB, wall and CPU seconds."""
    started = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(source), str(output)],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - started
    if child.returncode:
        raise SystemExit(f"the child exited with {child.returncode}")
    shutil.rmtree(output)
    peak = usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    return {
        "peak_mb": round(peak),
        "wall_s": round(wall, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--layout", choices=("dense", "moe"), default="dense")
    parser.add_argument("--folder", type=Path, help="where the files go (default: temporary)")
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        source = Path(name) / "source"
        source.mkdir()
        fields = DENSE if options.layout == "dense" else MOE
        size = make_checkpoint(source, fields, int(options.gigabytes * 1e9))
        add_tokenizer(source)
        for _ in range(options.repeat):
            for who, program in (("mlxqwen", OURS), ("mlx_lm.convert", THEIRS)):
                figures = measure(program, source, Path(name) / "output")
                line = {"who": who, "layout": options.layout, "source_gb": round(size / 1e9, 2)}
                print(json.dumps(line | figures), flush=True)


if __name__ == "__main__":
    main()
