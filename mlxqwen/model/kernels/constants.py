"""Numbers compiled into a kernel: they cost neither a buffer nor a graph node per call."""

from __future__ import annotations

import struct


def float_bits(value: float) -> int:
    """``value`` as a template argument, which cannot be a float: the text reads it back with
    ``as_type<float>``."""
    bits: int = struct.unpack("<i", struct.pack("<f", value))[0]
    return bits
