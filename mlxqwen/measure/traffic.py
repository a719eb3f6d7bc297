"""What one token must read from memory, and how fast a chip's memory is: the limit of decoding."""

from __future__ import annotations

import re
import subprocess
import sys

from ..checkpoint.directory import Directory
from ..checkpoint.layouts import read_layout
from ..model.config import ModelConfig

# GB/s by chip and, where a chip is sold with several memories, its number of GPU cores; from
# Apple's technical specifications of the machines. A chip that is not named has no known limit.
_GIGABYTES: dict[tuple[str, int | None], float] = {
    ("Apple M1 Max", None): 400,
    ("Apple M1 Ultra", None): 800,
    ("Apple M2 Max", None): 400,
    ("Apple M2 Ultra", None): 800,
    ("Apple M3 Pro", None): 150,
    ("Apple M3 Max", 40): 400,
    ("Apple M3 Ultra", None): 819,
    ("Apple M4", None): 120,
    ("Apple M4 Pro", None): 273,
    ("Apple M4 Max", 32): 410,
    ("Apple M4 Max", 40): 546,
    ("Apple M5", None): 153,
    ("Apple M5 Pro", None): 307,
    ("Apple M5 Max", 40): 614,
}


def bytes_per_token(
    directory: Directory, config: ModelConfig, context: int, *, width: int | None = None
) -> int:
    """Bytes that decoding one token reads, ``context`` tokens being in the cache.

    Of the weights: one row of the embeddings, the chosen experts, everything else once. Keys and
    values are read once; a recurrent state is read and written.

    Args:
        width: Bytes of a floating number as computed with; that of the files by default.
    """
    origins = read_layout(directory, config).origins
    stored = 2 if origins["model.norm.weight"].parts[0].dtype in ("BF16", "F16") else 4
    size = max(stored, width or stored)
    total = 0.0
    for name, origin in origins.items():
        held = origin.memory_bytes(size)
        if name == "model.embed_tokens.weight":
            total += held / config.vocab_size
            total += held if config.tie_word_embeddings else 0
        elif ".switch_mlp." in name and config.moe is not None:
            total += held * config.moe.num_experts_per_tok / config.moe.num_experts
        else:
            total += held
    return round(total) + _state_bytes(config, context, size)


def _state_bytes(config: ModelConfig, context: int, width: int) -> int:
    delta = config.delta
    linear = 0 if delta is None else len(delta.layers)
    row = 2 * config.num_key_value_heads * config.head_dim * width
    keyed = (config.num_hidden_layers - linear) * row * context
    if delta is None:
        return keyed
    convolution = (delta.conv_kernel_dim - 1) * delta.conv_dim * width
    recurrent = delta.num_value_heads * delta.value_head_dim * delta.key_head_dim * 4
    return keyed + 2 * linear * (convolution + recurrent)


def bandwidth(chip: str, cores: int | None) -> float | None:
    """Bytes per second that the memory of ``chip`` gives by its specification; None if unknown."""
    known = _GIGABYTES.get((chip, cores), _GIGABYTES.get((chip, None)))
    return None if known is None else known * 1e9


def gpu_cores() -> int | None:
    """How many cores this Mac's GPU has; None on other machines."""
    if sys.platform != "darwin":
        return None
    command = ["/usr/sbin/ioreg", "-rd1", "-c", "AGXAccelerator"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    found = re.search(r'"gpu-core-count"\s*=\s*(\d+)', done.stdout)
    return int(found.group(1)) if found else None
