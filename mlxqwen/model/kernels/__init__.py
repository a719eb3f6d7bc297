"""Custom Metal kernels, one per file, each beside the plain-MLX function that it must equal.

A file holds ``fits`` (whether the kernel takes these shapes), a wrapper named like the kernel,
``reference`` (the same function in plain MLX), and the kernel's text. Tests execute the text on any
machine by an emulator, and on a Mac by Metal.

Rules for the text: an address space on every pointer, helpers ``inline`` and templated on the
pointer type (MLX puts inputs of fewer than 8 elements into another space), ``f`` on literals and
explicit casts, no structs in shared memory, no branch around a SIMD function or a barrier, no
64-bit or bool operand in SIMD functions, at least one position attribute, no write of two threads
to one place.
"""
