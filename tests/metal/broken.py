"""Kernels with one fault each, and what the emulator must say about it."""

from __future__ import annotations

from dataclasses import dataclass

_I = "uint i = thread_position_in_grid.x;\n"
_TG = "threadgroup float shared[64];\nuint t = thread_position_in_threadgroup.x;\n"
_SYNC = "threadgroup_barrier(mem_flags::mem_threadgroup);\n"


@dataclass(frozen=True, slots=True)
class Broken:
    """``body`` runs over ``grid`` threads in groups of 64 with x (64,) and y (64,) float32."""

    kind: str
    says: str
    body: str
    grid: int = 64
    header: str = ""


BROKEN = {
    "input read past its end": Broken(
        "out of bounds", "4 bytes at byte 256 of 'x', which has 256", f"{_I}y[i] = x[i + 1];"
    ),
    "input read before its start": Broken(
        "out of bounds", "at byte -4 of 'x'", f"{_I}y[i] = *(x + i - 1);"
    ),
    "input read a gigabyte away": Broken(
        "out of bounds", "byte 1073741824 of 'x'", f"{_I}y[i] = x[268435456u];"
    ),
    "input read past its end by the argument of a long helper": Broken(
        "out of bounds",
        "of 'x', which has 256",
        f"{_I}const device float4* p = (const device float4*)x + 1;\n"
        "y[i] = helper(p[i % 16]);\ny[i] += helper(p[i % 16]);",
        header="inline float helper(float4 v) {\nfloat r = v.x;\n"
        + "r = r * v.y + metal::exp(v.z);\n" * 99
        + "return r;\n}\n",
    ),
    "output written past its end": Broken(
        "out of bounds", "write of 4 bytes at byte 256 of 'y'", f"{_I}y[i + 1] = x[i];"
    ),
    "grid too long": Broken("out of bounds", "at byte 256", f"{_I}y[i] = x[i];", grid=65),
    "grid too short": Broken(
        "unwritten", "4 of 256 bytes of output 'y'", f"{_I}y[i] = x[i];", grid=63
    ),
    "output not written where a test fails": Broken(
        "unwritten", "128 of 256", f"{_I}if (i % 2 == 1) {{ y[i] = x[i]; }}"
    ),
    "output read before it is written": Broken(
        "uninitialised", "byte 0 of 'y'", f"{_I}y[i] = y[0] + x[i];"
    ),
    "threadgroup memory read before it is written": Broken(
        "uninitialised", "'shared'", f"{_I}{_TG}y[i] = shared[t] + x[i];"
    ),
    "no barrier between write and read": Broken(
        "", "'shared'", f"{_I}{_TG}shared[t] = x[i];\ny[i] = shared[63 - t];"
    ),
    "no barrier between read and rewriting": Broken(
        "race",
        "'shared'",
        f"{_I}{_TG}shared[t] = x[i];\n{_SYNC}y[i] = shared[63 - t];\nshared[t] = 0.0f;",
    ),
    "barrier for the wrong memory": Broken(
        "race",
        "reads byte",
        f"{_I}{_TG}shared[t] = x[i];\nthreadgroup_barrier(mem_flags::mem_device);\n"
        "y[i] = shared[63 - t];",
    ),
    "barrier for no memory": Broken(
        "race",
        "reads byte",
        f"{_I}{_TG}shared[t] = x[i];\nthreadgroup_barrier(mem_flags::mem_none);\n"
        "y[i] = shared[63 - t];",
    ),
    "SIMD-group barrier between two SIMD-groups": Broken(
        "",
        "'shared'",
        f"{_I}{_TG}shared[t] = x[i];\nsimdgroup_barrier(mem_flags::mem_threadgroup);\n"
        "y[i] = shared[63 - t];",
    ),
    "barrier in a branch": Broken(
        "barrier", "kernel_source:3", f"{_I}y[i] = x[i];\nif (i < 32) {{ {_SYNC.strip()} }}"
    ),
    "return before a barrier": Broken(
        "barrier", "has ended", f"{_I}y[i] = x[i];\nif (i == 5) return;\n{_SYNC}"
    ),
    "two barriers met in different lines": Broken(
        "barrier",
        "at line 4",
        f"{_I}y[i] = x[i];\nif (i < 32) {{ {_SYNC.strip()} }}\nelse {{ {_SYNC.strip()} }}",
    ),
    "SIMD sum in a branch": Broken(
        "divergence",
        "simd_sum",
        f"{_I}float v = x[i];\nif (i % 2) {{ v = simd_sum(v); }}\ny[i] = simd_max(v);",
    ),
    "shuffle from a lane that has ended": Broken(
        "inactive lane",
        "simd_shuffle",
        f"{_I}y[i] = x[i];\nif (i % 32 > 20) return;\ny[i] = simd_shuffle(x[i], 31);",
    ),
    "shuffle from a lane that does not exist": Broken(
        "inactive lane", "simd_shuffle", f"{_I}y[i] = simd_shuffle(x[i], ushort(32));"
    ),
    "private array index": Broken(
        "undefined",
        "index outside",
        f"{_I}float v[4];\nfor (uint k = 0; k < 4; ++k) v[k] = x[i];\ny[i] = v[i];",
    ),
    "threadgroup array index": Broken(
        "undefined", "index outside", f"{_I}{_TG}shared[t + 1] = x[i];\n{_SYNC}y[i] = x[i];"
    ),
    "threadgroup pointer past its array": Broken(
        "out of bounds",
        "of 'shared', which has 256",
        f"{_I}{_TG}threadgroup float* p = shared;\np[t + 1] = x[i];\n{_SYNC}y[i] = x[i];",
    ),
    "write to an input": Broken(
        "write to constant", "input 'x'", f"{_I}((device float*)x)[i] = 0.0f;\ny[i] = x[i];"
    ),
    "write to a table": Broken(
        "write to constant",
        "program-scope",
        f"{_I}*(constant float*)&table[0] = 0.0f;\ny[i] = x[i];",
        header="constant float table[2] = {1.0f, 2.0f};\n",
    ),
    "misaligned vector": Broken(
        "undefined",
        "misaligned",
        f"{_I}float4 v = *(const device float4*)(x + 1);\ny[i] = dot(v, v);",
    ),
    "race between threadgroups": Broken(
        "race", "writes again byte", f"{_I}y[i % 64] = x[i % 64];", grid=128
    ),
    "two threads write one place": Broken(
        "race", "writes again byte 0", f"{_I}y[i] = x[i];\nif (i < 2) {{ y[0] = x[i]; }}"
    ),
    "too much threadgroup memory": Broken(
        "threadgroup memory",
        "32784 bytes",
        f"{_I}threadgroup float big[8192], more;\nbig[i] = x[i];\nmore = 0.0f;\ny[i] = x[i];",
    ),
    "endless loop": Broken("budget", "still running", f"{_I}while (x[i] < 1e30f) {{}}\ny[i] = 0;"),
    "endless loop without memory": Broken(
        "budget", "still running", f"{_I}for (;;) {{}}\ny[i] = 0;"
    ),
    "deep private memory": Broken(
        "",
        "private memory",
        f"{_I}float v[100000];\nfor (uint k = 0; k < 100000; k += 512) "
        "{ v[k] = x[i]; }\ny[i] = v[i * 512];",
    ),
    "integer division by zero": Broken(
        "undefined", "division by zero", f"{_I}int n = int(i);\ny[i] = x[i] + 5 / n;"
    ),
    "shift by 32": Broken("undefined", "shift", f"{_I}y[i] = x[i] + (1u << (i + 1));"),
    "negative number cast to unsigned": Broken(
        "undefined", "does not fit", f"{_I}y[i] = x[i] + uint(-1.5f - float(i));"
    ),
    "double": Broken("compile", "no_double_in_metal", f"{_I}double v = x[i];\ny[i] = v;"),
    "64-bit SIMD operand": Broken("compile", "64-bit", f"{_I}y[i] = simd_sum(uint64_t(i)) + x[i];"),
    "mixed types of max": Broken("compile", "max", f"{_I}y[i] = max(x[i], 0);"),
    "unknown name": Broken("compile", "not_a_thing", f"{_I}y[i] = not_a_thing(x[i]);"),
    "implicit change of 16-bit format": Broken(
        "compile", "", f"{_I}half h = x[i];\nbfloat b = h;\ny[i] = b;"
    ),
    "threadgroup memory in a helper": Broken(
        "compile",
        "only be declared in the kernel",
        f"{_I}y[i] = helper(x[i]);",
        header="inline float helper(float v) { threadgroup float s[2]; return v; }\n",
    ),
}
