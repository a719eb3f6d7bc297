"""The text that MLX wraps around a custom kernel's body, and how a launch fills its parameters.

MLX builds it in ``mlx/backend/common/metal_kernel.cpp``; a test holds this file to what the
installed MLX itself emits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import mlx.core as mx

TYPES = {
    mx.bool_: "bool",
    mx.uint8: "uint8_t",
    mx.uint16: "uint16_t",
    mx.uint32: "uint32_t",
    mx.uint64: "uint64_t",
    mx.int8: "int8_t",
    mx.int16: "int16_t",
    mx.int32: "int32_t",
    mx.int64: "int64_t",
    mx.float16: "float16_t",
    mx.bfloat16: "bfloat16_t",
    mx.float32: "float",
}

# In MLX's order; the index is the attribute's place in what the runtime hands to a thread.
ATTRIBUTES = {
    "dispatch_quadgroups_per_threadgroup": "uint",
    "dispatch_simdgroups_per_threadgroup": "uint",
    "dispatch_threads_per_threadgroup": "uint3",
    "grid_origin": "uint3",
    "grid_size": "uint3",
    "quadgroup_index_in_threadgroup": "uint",
    "quadgroups_per_threadgroup": "uint",
    "simdgroup_index_in_threadgroup": "uint",
    "simdgroups_per_threadgroup": "uint",
    "thread_execution_width": "uint",
    "thread_index_in_quadgroup": "uint",
    "thread_index_in_simdgroup": "uint",
    "thread_index_in_threadgroup": "uint",
    "thread_position_in_grid": "uint3",
    "thread_position_in_threadgroup": "uint3",
    "threadgroup_position_in_grid": "uint3",
    "threadgroups_per_grid": "uint3",
    "threads_per_grid": "uint3",
    "threads_per_simdgroup": "uint",
    "threads_per_threadgroup": "uint3",
}

# MLX puts inputs of fewer elements than this into the constant address space.
_CONSTANT_BELOW = 8

Template = Sequence[tuple[str, "mx.Dtype | int | bool"]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of the kernel function; ``type`` without ``*`` or ``&``."""

    type: str
    name: str
    role: Literal["pointer", "reference", "attribute"]


@dataclass(frozen=True, slots=True)
class Signature:
    """A kernel's function: its text up to the opening brace, and what its call passes."""

    name: str
    template: str
    arguments: str
    parameters: tuple[Parameter, ...]

    @classmethod
    def of(
        cls,
        name: str,
        inputs: Sequence[tuple[str, mx.array]],
        outputs: Sequence[tuple[str, mx.Dtype]],
        source: str,
        template: Template = (),
    ) -> Signature:
        """What MLX generates for these arguments of ``mx.fast.metal_kernel`` and its call."""
        parameters: list[Parameter] = []
        tags: list[str] = []
        for label, array in inputs:
            kind = TYPES[array.dtype]
            space = "constant" if array.size < _CONSTANT_BELOW else "device"
            role = "pointer" if array.ndim else "reference"
            parameters.append(Parameter(f"const {space} {kind}", label, role))
            small = "c" if space == "constant" else ""
            tags.append(kind + ("s" if not array.ndim else small))
            if array.ndim:
                parameters += [
                    Parameter(f"const constant {element}", f"{label}_{what}", access)
                    for what, element, access in (
                        ("shape", "int", "pointer"),
                        ("strides", "int64_t", "pointer"),
                        ("ndim", "int", "reference"),
                    )
                    if f"{label}_{what}" in source
                ]
        for label, dtype in outputs:
            parameters.append(Parameter(f"device {TYPES[dtype]}", label, "pointer"))
            tags.append(TYPES[dtype])
        parameters += [
            Parameter(kind, label, "attribute")
            for label, kind in ATTRIBUTES.items()
            if label in source
        ]
        declared = ", ".join(f"{_template_kind(value)} {label}" for label, value in template)
        arguments = ", ".join(_template_value(value) for _, value in template)
        arguments = f"<{arguments}>" if template else ""
        full = f"custom_kernel_{name}_{re.sub('<|>|, |-', '_', arguments)}{'_'.join(tags)}"
        return cls(full, f"template <{declared}>\n" if template else "", arguments, (*parameters,))

    def text(self) -> str:
        """Everything before the body, the opening brace included."""
        lines: list[str] = []
        buffers = 0
        for parameter in self.parameters:
            mark = {"pointer": "*", "reference": "&", "attribute": ""}[parameter.role]
            where = parameter.name
            if parameter.role != "attribute":
                where = f"buffer({buffers})"
                buffers += 1
            lines.append(f"  {parameter.type}{mark} {parameter.name} [[{where}]]")
        return f"{self.template}[[kernel]] void {self.name}(\n" + ",\n".join(lines) + ") {\n"

    def call(self) -> str:
        """A call of the function with buffers from ``b`` and attributes from ``a``."""
        order = list(ATTRIBUTES)
        passed: list[str] = []
        for index, parameter in enumerate(self.parameters):
            if parameter.role == "attribute":
                at = 3 * order.index(parameter.name)
                triple = f"uint3(a[{at}], a[{at + 1}], a[{at + 2}])"
                passed.append(triple if parameter.type == "uint3" else f"a[{at}]")
            else:
                load = "*" if parameter.role == "reference" else ""
                passed.append(f"{load}({parameter.type}*)b[{index}]")
        return f"{self.name}{self.arguments}({', '.join(passed)});"


def _template_kind(value: mx.Dtype | int | bool) -> str:
    if isinstance(value, mx.Dtype):
        return "typename"
    return "bool" if isinstance(value, bool) else "int"


def _template_value(value: mx.Dtype | int | bool) -> str:
    return TYPES[value] if isinstance(value, mx.Dtype) else str(int(value))
