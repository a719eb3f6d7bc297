"""How much room a key-value cache takes for a number of tokens; known without MLX, for plans."""

_BUCKET = 256
# Beyond this many tokens capacity is rounded up to a sixteenth of itself: at most 1.07 times used.
_PROPORTIONAL_FROM = 4096


def capacity_for(tokens: int) -> int:
    """Tokens of room to allocate when ``tokens`` are needed."""
    step = _BUCKET
    while tokens > _PROPORTIONAL_FROM and step * 16 < tokens:
        step *= 2
    return -(-tokens // step) * step
