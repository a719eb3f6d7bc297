"""What a GPU is asked to launch for one step: a list, and counts of it."""

from __future__ import annotations

from dataclasses import dataclass

from .trace import Array


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel handed to the GPU.

    Attributes:
        kind: What is launched: a primitive's own kernel, ``copy``, or a custom kernel's name.
        of: The primitive that launches it.
    """

    kind: str
    of: str
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]

    def __str__(self) -> str:
        read = ", ".join(map(str, self.inputs))
        return f"{self.kind}: {read} -> {', '.join(map(str, self.outputs))}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything launched for one step, in order.

    ``operations`` are the primitives that are no views, each counted once: the figure usually
    given. Launches are more by copies, second passes and the parts of concatenations.
    """

    launches: tuple[Launch, ...]
    operations: int

    def table(self) -> dict[str, int]:
        """Launches by kind, the most frequent first."""
        counts: dict[str, int] = {}
        for launch in self.launches:
            counts[launch.kind] = counts.get(launch.kind, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
