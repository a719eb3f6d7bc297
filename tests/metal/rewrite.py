"""Turns Metal's declarations of threadgroup arrays into C++.

``threadgroup float x[32], y;`` declares memory that a threadgroup shares, at function scope. A
pointer or reference (``threadgroup float* p``) is only qualified, and C++ needs no change there.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_TYPE = r"(?:(?:const|volatile|unsigned|signed|struct)\s+)*[A-Za-z_][\w:]*(?:\s*<[^;(){}]*?>)?"
_POINTER = re.compile(rf"\s+{_TYPE}(?:\s+const)?\s*[*&]")
_DECLARATION = re.compile(rf"\s+({_TYPE})\s+([A-Za-z_][^;]*);")
_DECLARATOR = re.compile(r"([A-Za-z_]\w*)\s*((?:\[[^\[\]]+\]\s*)*)$")
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)

Declare = Callable[[int, str, str, str], str]


class UnreadableDeclaration(ValueError):
    """A use of ``threadgroup`` that is neither a pointer nor a declaration understood here."""


def without_comments(source: str) -> str:
    """``source`` with comments blanked out and every line break kept."""
    return _COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), source)


def rewrite(source: str, declare: Declare) -> str:
    """Replaces each declared array or variable by ``declare(number, type, name, dimensions)``.

    Raises:
        UnreadableDeclaration: rather than leave memory that each thread would have for itself.
    """
    source = without_comments(source)
    out: list[str] = []
    number = end = 0
    for match in re.finditer(r"\bthreadgroup\b", source):
        if match.start() < end or _POINTER.match(source, match.end()):
            continue
        found = _DECLARATION.match(source, match.end())
        parts = _split(found[2]) if found else []
        names = [_DECLARATOR.match(part.strip()) for part in parts]
        line = source.count("\n", 0, match.start()) + 1
        if found is None or None in names:
            text = source[match.start() : match.start() + 60].splitlines()[0]
            raise UnreadableDeclaration(f"kernel_source:{line}: cannot read `{text}`")
        out.append(source[end : match.start()])
        for name in names:
            assert name is not None
            out.append(declare(number, found[1], name[1], name[2].strip()))
            number += 1
        out.append("\n" * found[0].count("\n"))
        end = found.end()
    return "".join(out) + source[end:]


def require_inline(header: str) -> None:
    """Sees to it that every function of a kernel's header is marked ``inline``.

    The host compiler does not report what the arguments of a real call read.

    Raises:
        UnreadableDeclaration: for the first function that is not.
    """
    header = without_comments(header)
    start = depth = 0
    for at, character in enumerate(header):
        if character == "{" and not depth:
            head = header[start:at].strip()
            if head.endswith(")") and not re.search(r"\binline\b", head):
                raise UnreadableDeclaration(f"kernel_header: not inline: `{head.splitlines()[-1]}`")
        depth += (character == "{") - (character == "}")
        if character in ";}" and not depth:
            start = at + 1


def _split(declarators: str) -> list[str]:
    """Splits at commas outside brackets and parentheses."""
    parts, depth = [""], 0
    for character in declarators:
        depth += (character in "([<{") - (character in ")]>}")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def host(number: int, kind: str, name: str, dimensions: str) -> str:
    """The declaration as a reference to memory that the emulator's runtime owns."""
    whole = f"{name}_threadgroup_type"
    return (
        f"typedef {kind} {whole}{dimensions}; {whole}& {name} = "
        f'*({whole}*)emu_threadgroup({number}, sizeof({whole}), "{name}"); '
    )
