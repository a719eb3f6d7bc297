"""Makes MLX record, on any machine, the graph that it would run on Metal.

Three things hide that graph elsewhere: other backends expand ``mx.fast`` operations into many small
ones, library code asks whether Metal is there, and ``mx.compile`` leaves no trace of itself in an
exported graph. While ``metal_standins`` is entered, every ``mx.fast`` operation and every custom
kernel is one opaque node, Metal seems present, and what a compiled function computes lies between
two marks. Nothing of this can be evaluated.

Outside of ``trace`` the same operations are nodes that do nothing, one each: the host builds the
graph that it would build for Metal, as fast, and that building can be timed. What would come out if
it were evaluated means nothing.

A function compiled before entering is not marked, so a process that counts enters first and imports
the libraries to be counted afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import mlx.core as mx

# Head widths that Metal's attention of few queries takes; others run as matrix products.
_FUSED_HEAD_DIMS = (64, 96, 128, 192, 256)
_PREFIX = "standin"
# MLX's stubs do not say what it returns for lists.
_depends = cast("Callable[[Sequence[mx.array], Sequence[mx.array]], list[mx.array]]", mx.depends)


@dataclass(frozen=True, slots=True)
class Call:
    """What one opaque node stands for.

    Attributes:
        kind: A primitive of MLX, ``Enter`` or ``Leave`` of a compiled region, or ``Custom``.
        label: Name of a custom kernel.
        facts: Arguments that decide how it is launched.
    """

    kind: str
    label: str = ""
    facts: Mapping[str, int] = field(default_factory=dict[str, int])


class Standins:
    """Makes opaque nodes, and remembers what each stands for by the number in its name."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        # Taken before anything is replaced.
        self._kernel = cast("Callable[..., Any]", mx.fast.metal_kernel)
        self._attention = mx.fast.scaled_dot_product_attention
        self._compile = cast("Callable[..., Any]", mx.compile)
        self._contiguous = mx.contiguous
        self._blanks: dict[tuple[tuple[int, ...], mx.Dtype], mx.array] = {}
        self._inside = 0
        self._tracing = False

    def node(
        self, call: Call, inputs: Sequence[mx.array], *outputs: tuple[Sequence[int], mx.Dtype]
    ) -> list[mx.array]:
        """One node: ``inputs`` to arrays of the shapes and dtypes in ``outputs``."""
        if not self._tracing:
            return self._idle(inputs, *outputs)
        number = len(self.calls)
        self.calls.append(call)
        kernel = self._kernel(
            f"{_PREFIX}{number}x",
            [f"i{i}" for i in range(len(inputs))],
            [f"o{i}" for i in range(len(outputs))],
            "",
        )
        return kernel(
            inputs=list(inputs),
            output_shapes=[list(shape) for shape, _ in outputs],
            output_dtypes=[dtype for _, dtype in outputs],
            grid=(1, 1, 1),
            threadgroup=(1, 1, 1),
        )

    def _idle(
        self, inputs: Sequence[mx.array], *outputs: tuple[Sequence[int], mx.Dtype]
    ) -> list[mx.array]:
        """One node that makes nothing of its inputs."""
        blanks: list[mx.array] = []
        for shape, dtype in outputs:
            key = tuple(shape), dtype
            if key not in self._blanks:
                self._blanks[key] = mx.zeros(key[0], dtype)
                mx.eval(self._blanks[key])
            blanks.append(self._blanks[key])
        return _depends(blanks, inputs)

    def call_of(self, kernel_name: str) -> Call:
        """What the node stands for whose kernel MLX calls ``kernel_name``."""
        number = kernel_name.partition(_PREFIX)[2].partition("x")[0]
        return self.calls[int(number)]

    def rms_norm(
        self, x: mx.array, weight: mx.array | None, eps: float, *, stream: Any = None
    ) -> mx.array:
        """``mx.fast.rms_norm``, conversions of its arguments included."""
        if not self._tracing:
            return _after(x if weight is None or x.dtype == weight.dtype else x + weight, weight)
        if weight is None:
            return self.node(Call("RMSNorm"), [x], (x.shape, x.dtype))[0]
        dtype = _promoted(x, weight)
        inputs = [x.astype(dtype), weight.astype(dtype)]
        return self.node(Call("RMSNorm"), inputs, (x.shape, dtype))[0]

    def rope(
        self,
        a: mx.array,
        dims: int,
        *,
        traditional: bool,
        base: float | None,
        scale: float,
        offset: int | mx.array,
        freqs: mx.array | None = None,
        stream: Any = None,
    ) -> mx.array:
        """``mx.fast.rope``."""
        if not self._tracing:
            return _after(a, offset if isinstance(offset, mx.array) else None)
        start = offset if isinstance(offset, mx.array) else mx.array(offset, mx.int32)
        if start.dtype.size != 4:
            start = start.astype(mx.int32)
        inputs = [a, start] if freqs is None else [a, start, freqs.astype(mx.float32)]
        return self.node(Call("RoPE", facts={"dims": dims}), inputs, (a.shape, a.dtype))[0]

    def attention(
        self,
        q: mx.array,
        k: mx.array,
        v: mx.array,
        *,
        scale: float,
        mask: mx.array | str | None = None,
        sinks: mx.array | None = None,
        **other: Any,
    ) -> mx.array:
        """``mx.fast.scaled_dot_product_attention``; expanded where Metal has no kernel for it."""
        if not self._tracing:
            return _depends([q], [k, v])[0]
        queries, heads = q.shape[2] * q.shape[1] // k.shape[1], q.shape[-1]
        if heads not in _FUSED_HEAD_DIMS or (q.shape[2] <= 8 and queries > 32):
            return self._attention(q, k, v, scale=scale, mask=mask, sinks=sinks, **other)
        dtype = _promoted(q, k, v)
        inputs = [x.astype(dtype) for x in (q, k, v)]
        if isinstance(mask, mx.array):
            wide = mask if mask.dtype == mx.bool_ else mask.astype(dtype)
            inputs.append(mx.broadcast_to(wide, (*q.shape[:3], k.shape[2])))
        if sinks is not None:
            inputs.append(sinks.astype(dtype))
        shape = (*q.shape[:3], v.shape[-1])
        return self.node(Call("ScaledDotProductAttention"), inputs, (shape, dtype))[0]

    def gated_delta_update(
        self,
        q: mx.array,
        k: mx.array,
        v: mx.array,
        gamma: mx.array,
        beta: mx.array,
        initial_state: mx.array | None = None,
        mask: mx.array | None = None,
        *,
        stream: Any = None,
    ) -> list[mx.array]:
        """``mx.fast.gated_delta_update``."""
        given = [x for x in (initial_state, mask) if x is not None]
        state = (q.shape[0], v.shape[2], v.shape[3], k.shape[3])
        inputs = [q, k, v, gamma, beta, *given]
        return self.node(Call("GatedDeltaUpdate"), inputs, (v.shape, v.dtype), (state, mx.float32))

    def dequantize(
        self,
        w: mx.array,
        /,
        scales: mx.array,
        biases: mx.array | None = None,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "affine",
        global_scale: mx.array | None = None,
        dtype: mx.Dtype | None = None,
        *,
        stream: Any = None,
    ) -> mx.array:
        """``mx.dequantize``, which some backends expand."""
        given = [x for x in (biases, global_scale) if x is not None]
        width = bits or (8 if mode == "mxfp8" else 4)
        shape = (*w.shape[:-1], w.shape[-1] * 32 // width)
        plain = scales.dtype if mode == "affine" else mx.bfloat16
        return self.node(Call("Dequantize"), [w, scales, *given], (shape, dtype or plain))[0]

    def contiguous(
        self, a: mx.array, allow_col_major: bool = False, *, stream: Any = None
    ) -> mx.array:
        """``mx.contiguous``, which MLX cannot export."""
        if not self._tracing:
            return self._contiguous(a, allow_col_major)
        return self.node(Call("Contiguous"), [a], (a.shape, a.dtype))[0]

    def metal_kernel(
        self, name: str, input_names: Sequence[str], output_names: Sequence[str], *_: Any, **__: Any
    ) -> Callable[..., list[mx.array]]:
        """``mx.fast.metal_kernel``: the kernel made is one node under its own name."""

        def kernel(
            *,
            inputs: Sequence[Any],
            output_shapes: Sequence[Sequence[int]],
            output_dtypes: Sequence[mx.Dtype],
            init_value: float | None = None,
            **_: Any,
        ) -> list[mx.array]:
            filled = len(output_shapes) if init_value is not None else 0
            arrays = [x if isinstance(x, mx.array) else mx.array(x) for x in inputs]
            outputs = zip(output_shapes, output_dtypes, strict=True)
            return self.node(Call("Custom", name, {"filled": filled}), arrays, *outputs)

        return kernel

    def compile(
        self,
        fun: Callable[..., Any],
        inputs: Any = None,
        outputs: Any = None,
        shapeless: bool = False,
    ) -> Callable[..., Any]:
        """``mx.compile``, whose function marks its arguments and results while it is traced.

        MLX compiles a compiled function's calls of others as a part of it, so only the outermost
        is marked.
        """
        real = self._compile(fun, inputs=inputs, outputs=outputs, shapeless=shapeless)

        def marked(*args: Any, **kwargs: Any) -> Any:
            if self._inside or not self._tracing:
                return real(*args, **kwargs)
            self._inside += 1
            try:
                args, kwargs = self._mark("Enter", (args, kwargs))
                result = fun(*args, **kwargs)
            finally:
                self._inside -= 1
            if outputs is None:
                return self._mark("Leave", result)
            result, changed = self._mark("Leave", (result, outputs))
            _replace(outputs, changed)
            return result

        return marked

    def async_eval(self, *arrays: Any) -> None:
        """``mx.async_eval``, which does nothing: neither may be evaluated, graph nor idle nodes."""

    @contextmanager
    def tracing(self) -> Generator[None]:
        """While a graph is being recorded."""
        self._tracing = True
        try:
            yield
        finally:
            self._tracing = False

    def _mark(self, kind: str, tree: Any) -> Any:
        """The same tree with all its arrays passed through one node."""
        arrays: list[mx.array] = []
        _collect(tree, arrays)
        if not arrays:
            return tree
        outputs = [(array.shape, array.dtype) for array in arrays]
        return _rebuilt(tree, iter(self.node(Call(kind), arrays, *outputs)))


@contextmanager
def metal_standins() -> Generator[Standins]:
    """Replaces what ``Standins`` stands in for, in MLX's own modules, and puts it back."""
    made = Standins()
    replaced: list[tuple[Any, str, Any]] = [
        (mx.fast, "rms_norm", made.rms_norm),
        (mx.fast, "rope", made.rope),
        (mx.fast, "scaled_dot_product_attention", made.attention),
        (mx.fast, "gated_delta_update", made.gated_delta_update),
        (mx.fast, "metal_kernel", made.metal_kernel),
        (mx, "contiguous", made.contiguous),
        (mx, "dequantize", made.dequantize),
        (mx, "compile", made.compile),
        (mx, "async_eval", made.async_eval),
        (mx.metal, "is_available", lambda: True),
    ]
    with _put_in_place(replaced):
        yield made


@contextmanager
def gpu_as_default() -> Generator[None]:
    """Lets MLX name a GPU as its default device. Arrays still go where they went before.

    Apart from ``metal_standins``, because mlx-lm makes a stream on the default device as it is
    imported.
    """
    with _put_in_place([(mx, "default_device", lambda: mx.Device(mx.gpu, 0))]):
        yield


@contextmanager
def _put_in_place(values: Sequence[tuple[Any, str, Any]]) -> Generator[None]:
    before: list[tuple[Any, str, Any]] = [
        (module, name, vars(module)[name]) for module, name, _ in values
    ]
    try:
        for module, name, value in values:
            setattr(module, name, value)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def _after(x: mx.array, other: mx.array | None) -> mx.array:
    """One node that hands on ``x``."""
    return _depends([x], [x if other is None else other])[0]


def _promoted(*arrays: mx.array) -> mx.Dtype:
    """The dtype that MLX computes with arguments of these."""
    sample = mx.zeros((), arrays[0].dtype)
    for array in arrays[1:]:
        sample = sample + mx.zeros((), array.dtype)
    return sample.dtype


def _collect(tree: Any, found: list[mx.array]) -> None:
    if isinstance(tree, mx.array):
        found.append(tree)
    elif isinstance(tree, list | tuple):
        for item in cast("Sequence[Any]", tree):
            _collect(item, found)
    elif isinstance(tree, dict):
        for item in cast("dict[Any, Any]", tree).values():
            _collect(item, found)


def _rebuilt(tree: Any, arrays: Any) -> Any:
    if isinstance(tree, mx.array):
        return next(arrays)
    if isinstance(tree, list):
        return [_rebuilt(item, arrays) for item in cast("list[Any]", tree)]
    if isinstance(tree, tuple):
        return tuple(_rebuilt(item, arrays) for item in cast("tuple[Any, ...]", tree))
    if isinstance(tree, dict):
        pairs = cast("dict[Any, Any]", tree).items()
        return {key: _rebuilt(item, arrays) for key, item in pairs}
    return tree


def _replace(container: Any, changed: Any) -> None:
    """Puts new arrays into the lists and dictionaries that a compiled function updates."""
    if isinstance(container, list):
        cast("list[Any]", container)[:] = changed
    elif isinstance(container, dict):
        cast("dict[Any, Any]", container).update(changed)
