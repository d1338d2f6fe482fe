"""What there is to say of an op or of a step of a program: whose it is, and what it costs.

Left out: how long it takes (`watching.py`), and what the ops of a graph were (`graph.Origin`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

from tinytorch.engine.dispatch import Phase
from tinytorch.engine.graph import Origin

if TYPE_CHECKING:
    from kernels.program import Program
    from kernels.symbols import Ref, Step

Shape = tuple[int, ...]


class Note(NamedTuple):
    """A step of a program, or what all calls of an op with one signature have in common.

    `layer` is the dotted name of the innermost layer that was running, in backward of the layer whose gradient is
    computed, in an update of the one whose parameter it is, and "" outside of all; `kind` is its class. Of a step they
    name all layers whose ops became one: `0+1+2`, `Conv2d+ReLU+MaxPool2d`. `shapes` are what is read, None where an
    input was absent. `kernels` are the compiled ones that run, none where NumPy's reference does. `flops` counts the
    mathematics, 2 for a multiply-add, told at the step that does most of the work; `operations` what is really
    executed. `bytes` counts every array read or written once, scratch left out: what has to move if nothing is cached.
    """

    layer: str
    kind: str
    phase: Phase
    op: str
    shapes: tuple[Shape | None, ...]
    out_shape: Shape
    kernels: tuple[str, ...]
    flops: int
    operations: int
    arithmetic: Literal["float32", "int8"]
    bytes: int


@dataclass(eq=False)
class Lowered:
    """A program, and for each of its steps a label, which node of the graph it belongs to, and what that was."""

    program: Program
    labels: list[str]
    nodes: list[int]
    origins: list[tuple[Origin, ...]]

    @cached_property
    def notes(self) -> tuple[Note, ...]:
        steps = self.program.steps
        used = Counter(buffer for step in steps for buffer in {ref.buffer for ref in step.reads + step.writes})
        leading: dict[int, int] = {}  # node -> the step that does most of its work
        for i, (node, step) in enumerate(zip(self.nodes, steps)):
            best = steps[leading[node]] if node in leading else None
            if best is None or (step.operations, step.cost_ns) > (best.operations, best.cost_ns):
                leading[node] = i
        counted = {node for node, step in zip(self.nodes, steps) if step.operations}
        return tuple(
            self.note(step, label, origins, leading[node] == i, node in counted, used)
            for i, (step, label, node, origins) in enumerate(zip(steps, self.labels, self.nodes, self.origins))
        )

    def note(
        self, step: Step, label: str, origins: tuple[Origin, ...], leads: bool, counted: bool, used: Counter[int]
    ) -> Note:
        """`leads`: it does most of its node's work; `counted`: steps of the node say what they execute."""
        flops = sum(origin.flops for origin in origins) if leads else 0
        others = origins[1:] if counted else origins
        more = sum(origin.flops for origin in others if origin.executed) if leads else 0
        reads, writes = (self.moved(refs, used) for refs in (step.reads, step.writes))
        return Note(
            joined([origin.layer for origin in origins]), joined([origin.kind for origin in origins]),
            origins[0].phase if origins else "forward", label,
            tuple(ref.shape for ref in step.reads if ref.buffer in self.program.places or len(ref.shape) > 1),
            step.writes[0].shape, (step.kernel.name,), flops, step.operations + more, step.arithmetic,
            sum(ref.size * ref.dtype.itemsize for ref in (*reads, *writes)),
        )  # fmt: skip

    def moved(self, refs: Sequence[Ref], used: Counter[int]) -> set[Ref]:
        """Those that others know of: not the arena's that only one step uses."""
        places, bases = self.program.places, self.program.bases
        return {
            ref for ref in refs
            if used[ref.buffer] > 1 or ref.buffer not in places or bases[places[ref.buffer].base] != "arena"
        }  # fmt: skip


def joined(names: Sequence[str]) -> str:
    """Each once, in their order: `0+1+2`."""
    return "+".join(dict.fromkeys(filter(None, names)))
