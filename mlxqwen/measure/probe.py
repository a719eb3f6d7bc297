"""Loads MLX and says what it found, as one line of JSON: ``python -m mlxqwen.measure.probe``.

``doctor`` runs this in a child process: an MLX built for another processor or system may end the
process that imports it instead of raising.
"""

from __future__ import annotations

import json
from importlib.metadata import version


def main() -> None:
    """Prints version, backend, device and the error of a small 4-bit product on that device."""
    import mlx.core as mx

    from ..device import device

    here = device()
    # 512 x 512 weights in 4 bits against the same weights unpacked: a broken backend shows here.
    weights = mx.random.normal((512, 512), key=mx.random.key(0))
    packed, scales, biases = mx.quantize(weights, group_size=64, bits=4)
    plain = mx.dequantize(packed, scales, biases, group_size=64, bits=4)
    x = mx.random.normal((4, 512), key=mx.random.key(1))
    product = mx.quantized_matmul(x, packed, scales, biases, group_size=64, bits=4)
    expected = x @ plain.T
    error = (mx.abs(product - expected).max() / mx.abs(expected).max()).item()
    print(
        json.dumps(
            {
                "version": version("mlx"),
                "backend": here.kind,
                "device": here.name,
                "product_error": error,
            }
        )
    )


if __name__ == "__main__":
    main()
