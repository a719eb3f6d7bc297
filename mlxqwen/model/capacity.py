"""How much room a cache takes for a number of tokens; known without MLX, for plans."""

from .config import ModelConfig

_BUCKET = 256


def capacity_for(tokens: int) -> int:
    """Tokens of room to allocate when ``tokens`` are needed.

    Steps of an eighth of the next power of two, 256 at least: at most 1.25 times what is used
    beyond 2,048 tokens, and 24 different capacities up to 32,768, each of which is one compiled
    decode step on a GPU.
    """
    step = max(_BUCKET, (1 << (tokens - 1).bit_length()) // 8)
    return -(-tokens // step) * step


def cache_bytes(config: ModelConfig, tokens: int, width: int) -> int:
    """Bytes that all layers remember of one sequence of ``tokens``, in a dtype of ``width`` bytes.

    A delta net's recurrent state is float32 in every dtype and does not grow.
    """
    delta = config.delta
    linear = 0 if delta is None else len(delta.layers)
    heads = 2 * config.num_key_value_heads * config.head_dim
    keyed = (config.num_hidden_layers - linear) * heads * capacity_for(tokens) * width
    if delta is None:
        return keyed
    convolution = (delta.conv_kernel_dim - 1) * delta.conv_dim * width
    recurrent = delta.num_value_heads * delta.value_head_dim * delta.key_head_dim * 4
    return keyed + linear * (convolution + recurrent)
