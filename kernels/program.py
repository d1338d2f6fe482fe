"""From symbolic steps to rows of integers: builder, constant folding, memory by lifetime, relocation.

A `Builder` collects kernel steps over symbolic arrays (`Ref`); lowerings in the other files call it. `finish` turns the
steps into a `Program`: one row of integers for each step, and a list of which words are addresses in which buffer.
Temporaries share one arena, laid out by first and last use. `link` puts absolute addresses in; `loop.execute` runs the
rows.

Left out: which steps an op needs (lowerings), which ops there are (the engine), running (`loop.py`).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from kernels import machine
from kernels.arena import ALIGNMENT, arena
from kernels.machine import POINTERS, Kernel
from kernels.symbols import NULL, Arithmetic, Ref, Step, channels_last_strides, contiguous_strides


class Declined(Exception):
    """No kernel does this; whoever asked runs its reference instead."""


@dataclass
class Buffer:
    """Memory behind Refs: an input, a constant (then `data` holds it) or a temporary.

    A temporary with a `border` is an image written only inside of it. Every byte of it is `fill` before the first run
    and its memory serves nothing else, so that the border stays.
    """

    kind: str
    nbytes: int
    data: np.ndarray | None = None
    border: tuple[int, int] = (0, 0)
    fill: int = 0


class Builder:
    """Collects steps. `eager` tells lowerings that NumPy is the alternative, so tiny work may be declined."""

    null = NULL

    def __init__(self, eager: bool = False) -> None:
        self.eager = eager
        self.buffers: list[Buffer] = []
        self.steps: list[Step] = []
        self.remarks: dict[int, str] = {}
        self._derived: dict[Any, tuple[Ref, Step]] = {}

    def _new(self, kind: str, shape: tuple[int, ...], strides: tuple[int, ...], dtype: Any, data: Any = None) -> Ref:
        ref = Ref(len(self.buffers), shape, strides, np.dtype(dtype))
        self.buffers.append(Buffer(kind, ref.size * ref.dtype.itemsize, data))
        return ref

    def input(self, shape: Sequence[int], strides: Sequence[int] | None = None, dtype: Any = np.float32) -> Ref:
        """An array handed over at every call; strides in elements, row-major by default."""
        shape = tuple(shape)
        return self._new("input", shape, contiguous_strides(shape) if strides is None else tuple(strides), dtype)

    def constant(self, values: Any) -> Ref:
        """An array known now; copied."""
        data = aligned(np.asarray(values))
        return self._new("constant", data.shape, contiguous_strides(data.shape), data.dtype, data)

    def empty(self, shape: Sequence[int], channels_last: bool = False, dtype: Any = np.float32) -> Ref:
        """A temporary, to be written by a step."""
        shape = tuple(shape)
        return self._new("temp", shape, (channels_last_strides if channels_last else contiguous_strides)(shape), dtype)

    def bordered(
        self, shape: Sequence[int], border: tuple[int, int], dtype: Any = np.float32, fill: int = 0, slack: int = 0
    ) -> Ref:
        """A channels-last temporary (N,C,H,W) inside a border of so many pixels, whose bytes are `fill`.

        `slack`: bytes behind its end that may be read.
        """
        n, c, h, w = shape
        (top, left), size = border, np.dtype(dtype).itemsize
        whole = self.empty((n, c, h + 2 * top, w + 2 * left), channels_last=True, dtype=dtype)
        buffer = self.buffers[whole.buffer]
        buffer.border, buffer.fill, buffer.nbytes = border, fill, whole.size * size + slack
        return replace(whole, shape=tuple(shape), offset=top * whole.strides[2] + left * whole.strides[3])

    def with_border(self, ref: Ref, border: tuple[int, int]) -> Ref | None:
        """The whole image, border included, that `ref` is the inside of; None if it is not inside such a border."""
        (top, left), buffer = border, self.buffers[ref.buffer]
        if buffer.border != border or ref.offset != top * ref.strides[2] + left * ref.strides[3]:
            return None
        n, c, h, w = ref.shape
        return replace(ref, shape=(n, c, h + 2 * top, w + 2 * left), offset=0)

    def empty_like(self, ref: Ref) -> Ref:
        """A temporary with the shape and the order in memory of `ref`."""
        order = sorted(range(len(ref.shape)), key=lambda i: (-abs(ref.strides[i]), i))
        inner = self.empty([ref.shape[i] for i in order], dtype=ref.dtype)
        return inner.permute(np.argsort(order).tolist())

    def step(
        self, kernel: Kernel, *arguments: Any, items: int, cost_ns: float, operations: int = 0,
        arithmetic: Arithmetic = "float32",
    ) -> None:  # fmt: skip
        """Add a kernel call. `items` is its number of independent work items, `cost_ns` an estimate for one thread;
        for `operations` see `Step`.

        Raises TypeError if the arguments do not fit the kernel's parameters.
        """
        kinds = kernel.parameters
        if len(arguments) != len(kinds):
            raise TypeError(f"step {kernel.name}: {len(arguments)} arguments given; it takes {', '.join(kinds)}")
        for (name, kind), argument in zip(kinds.items(), arguments):
            if isinstance(argument, Ref) != (kind in POINTERS):
                raise TypeError(f"step {kernel.name}: {name} is {argument!r}; it has to be {kind}")
            if name in kernel.writes and argument != NULL and self.buffers[argument.buffer].kind == "constant":
                raise ValueError(f"step {kernel.name}: {name} would be written, but it is a constant; make it an input")
        self.steps.append(Step(kernel, arguments, items, cost_ns, operations, arithmetic))

    def remark(self, text: str) -> None:
        """Say something about the step added last, for whoever shows the program."""
        self.remarks[id(self.steps[-1])] = text

    def is_constant(self, ref: Ref) -> bool:
        """Whether `ref` is known now, or will be once `fold` has run: what it is made from is."""
        if self.buffers[ref.buffer].kind != "temp":
            return self.buffers[ref.buffer].kind == "constant"
        writers = [step for step in self.steps if ref.buffer in (written.buffer for written in step.writes)]
        return bool(writers) and all(self.is_constant(read) for step in writers for read in step.reads)

    def reshaped(self, ref: Ref, shape: Sequence[int]) -> Ref:
        """`ref` with another shape of the same size: a view if it is row-major, else of a row-major copy."""
        return replace(self.contiguous(ref), shape=tuple(shape), strides=contiguous_strides(shape))

    def contiguous(self, ref: Ref) -> Ref:
        """`ref` itself if row-major, else a row-major copy."""
        return ref if ref.contiguous else self._copied(ref, self.empty(ref.shape, dtype=ref.dtype))

    def in_order_of(self, ref: Ref, like: Ref) -> Ref:
        """`ref` itself if it has the strides of `like` (of the same shape and dense), else a copy that has."""
        return ref if ref.lies_like(like) else self._copied(ref, self.empty_like(like))

    def channels_last(self, ref: Ref) -> Ref:
        """`ref` itself if channels-last in memory, else such a copy; `ref` has the shape (N, C, H, W)."""
        return ref if ref.channels_last else self._copied(ref, self.empty(ref.shape, True, ref.dtype))

    def _copied(self, ref: Ref, target: Ref) -> Ref:
        """`ref` copied to the unwritten `target`, or an earlier copy like it. Nobody may write to what this gives."""
        from kernels import layout

        order = ref, target.strides
        earlier = self.derived(ref, order)
        if earlier is None:
            layout.copy(self, ref, target)
            self.derive(target, order)
        return earlier or target

    def derive(self, made: Ref, how: Any) -> None:
        """Remember that the step added last made `made` as `how` says, for whoever wants the same."""
        self._derived[how] = made, self.steps[-1]

    def derived(self, ref: Ref, how: Any) -> Ref | None:
        """What was made of `ref` as `how` says, if the step that did it stayed and both are as they were then."""
        if how not in self._derived:
            return None
        made, last = self._derived[how]
        for step in reversed(self.steps):
            if step is last:
                return made
            if any(written.buffer in (ref.buffer, made.buffer) for written in step.writes):
                break
        return None

    def fold(self) -> None:
        """Run the steps that depend on constants only, now, and drop them.

        A temporary is constant if every step that writes it reads and writes nothing but constants.
        """
        steps = [step for step in self.steps if step.writes]
        constant = {ref.buffer for step in steps for ref in step.writes if self.buffers[ref.buffer].kind == "temp"}
        constant |= {i for i, buffer in enumerate(self.buffers) if buffer.kind == "constant"}
        while True:
            varying = {
                ref.buffer for step in steps if any(r.buffer not in constant for r in step.reads + step.writes)
                for ref in step.writes
            }  # fmt: skip
            if not varying & constant:
                break
            constant -= varying
        now = [step for step in steps if step.writes[0].buffer in constant]
        done = set(map(id, now))
        self.steps = [step for step in self.steps if id(step) not in done]
        for step in now:
            for buffer in (self.buffers[ref.buffer] for ref in step.writes):
                if buffer.kind == "temp":
                    buffer.kind, buffer.data = "constant", aligned(np.zeros(buffer.nbytes, np.uint8))
        made = Program(self, now, [])
        made.run([0] * len(made.bases))  # no step of it touches an input

    def finish(self, outputs: Sequence[Ref] = ()) -> Program:
        """Lay out memory and make the rows. A temporary that is an output gets a buffer of its own."""
        return Program(self, self.steps, outputs)


def aligned(values: np.ndarray) -> np.ndarray:
    """A row-major copy that begins at a multiple of ALIGNMENT bytes."""
    raw = np.empty(values.nbytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    copy = raw[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


class Place(NamedTuple):
    """Where a buffer lies: in which base (index into `Program.bases`), how many bytes in."""

    base: int
    offset: int


class Program:
    """Rows of integers that `loop.execute` runs, made for bases given later.

    `bases` names what `link` wants an address for, in order: the inputs as they were declared, one for each output that
    is not an input or a constant, and last, if any temporaries are left, the arena of `arena_bytes`, aligned to 64
    bytes. `relocations` (count, 4): row, column, base, byte offset. `constants` keeps constant arrays alive; the rows
    point at them.
    """

    def __init__(self, build: Builder, steps: Sequence[Step], outputs: Sequence[Ref]) -> None:
        self.steps = list(steps)
        self.outputs = list(outputs)
        self._buffers = build.buffers
        used = {ref.buffer for step in self.steps for ref in step.reads + step.writes} | {ref.buffer for ref in outputs}
        self.constants = [b.data for i, b in enumerate(build.buffers) if i in used and b.data is not None]
        self.places: dict[int, Place] = {}
        self.bases: list[str] = []
        self._place_externals(outputs)
        offsets, self.arena_bytes = arena(self._lifetimes())
        if offsets:
            self.places |= {buffer: Place(len(self.bases), offset) for buffer, offset in offsets.items()}
            self.bases.append("arena")
        self._write_rows()

    def _place_externals(self, outputs: Sequence[Ref]) -> None:
        inputs = [i for i, buffer in enumerate(self._buffers) if buffer.kind == "input"]
        results = dict.fromkeys(ref.buffer for ref in outputs if self._buffers[ref.buffer].kind == "temp")
        for kind, buffers in (("input", inputs), ("output", list(results))):
            for i, buffer in enumerate(buffers):
                self.places[buffer] = Place(len(self.bases), 0)
                self.bases.append(f"{kind}{i}")

    def _lifetimes(self) -> dict[int, tuple[int, int, int]]:
        """Temporary -> (first step, last step, bytes)."""
        lives: dict[int, tuple[int, int, int]] = {}
        for at, step in enumerate(self.steps):
            for buffer in (ref.buffer for ref in step.reads + step.writes):
                made = self._buffers[buffer]
                if made.kind == "temp" and buffer not in self.places:
                    forever = made.border != (0, 0)
                    first, last = (0, len(self.steps)) if forever else (lives.get(buffer, (at,))[0], at)
                    lives[buffer] = (first, last, made.nbytes)
        return lives

    def fill_borders(self, arena: np.ndarray) -> None:
        """Prepare the arena (bytes) for the first run."""
        for buffer, place in self.places.items():
            made = self._buffers[buffer]
            if made.border != (0, 0):
                arena[place.offset : place.offset + made.nbytes] = made.fill

    def _write_rows(self) -> None:
        width = max((machine.WORDS + len(step.arguments) for step in self.steps), default=machine.WORDS)
        self.rows = np.zeros((len(self.steps), width), np.int64)
        relocations = []
        for i, step in enumerate(self.steps):
            self.rows[i, : machine.WORDS] = step.kernel.address, step.items, step.parts
            for j, argument in enumerate(step.arguments, machine.WORDS):
                if not isinstance(argument, Ref):
                    self.rows[i, j] = _word(argument, step.kernel, j - machine.WORDS)
                elif argument.buffer != NULL.buffer:
                    place, data = self.places.get(argument.buffer), self._buffers[argument.buffer].data
                    start = argument.offset * argument.dtype.itemsize
                    if data is not None:
                        self.rows[i, j] = data.ctypes.data + start
                    else:
                        assert place is not None
                        relocations.append((i, j, place.base, place.offset + start))
        self.relocations = np.array(relocations, np.int64).reshape(-1, 4)

    def link(self, bases: Sequence[int]) -> np.ndarray:
        """Rows with absolute addresses, for the given address of each of `self.bases`."""
        if len(bases) != len(self.bases):
            raise ValueError(f"link: {len(bases)} addresses given; this program wants {', '.join(self.bases)}")
        rows = self.rows.copy()
        row, column, base, offset = self.relocations.T
        rows[row, column] = np.asarray(bases, np.int64)[base] + offset if bases else offset
        return rows

    @property
    def cost_ns(self) -> float:
        """What one run takes on one thread, roughly."""
        return sum(step.cost_ns for step in self.steps)

    @property
    def kernels(self) -> tuple[str, ...]:
        """The names of the kernels that run, each once, in the order in which they first do."""
        return tuple(dict.fromkeys(step.kernel.name for step in self.steps))

    @property
    def operations(self) -> int:
        """What its products compute, as `Step` counts; 0 where there are none."""
        return sum(step.operations for step in self.steps)

    @property
    def arithmetic(self) -> Arithmetic:
        """What its products compute with."""
        return "int8" if any(step.arithmetic == "int8" for step in self.steps) else "float32"

    def run(self, bases: Sequence[int], threads: int = 1) -> None:
        """Link and execute once; `execute` on kept rows is the quick way."""
        execute(self.link(bases), threads)

    def packed(self) -> np.ndarray:
        """The program as one integer array, as `loop.call` takes it."""
        scratch = self.bases.index("arena") if "arena" in self.bases else -1
        head = [*self.rows.shape, len(self.relocations), scratch]
        row, column, base, offset = self.relocations.T
        table = np.stack([row * self.rows.shape[1] + column, base, offset], 1)
        return np.concatenate([head, self.rows.ravel(), table.ravel()]).astype(np.int64)


def execute(rows: np.ndarray, threads: int) -> None:
    """Run linked rows (steps, width) on up to `threads` threads. Whoever calls keeps the memory they point at alive."""
    machine.loop().execute(rows.ctypes.data, rows.shape[0], rows.shape[1], threads)


def _word(value: float, kernel: Kernel, index: int) -> int:
    """An integer as it is; a number for a float parameter as the bits of a float64."""
    if list(kernel.parameters.values())[index] == "float":
        return struct.unpack("<q", struct.pack("<d", value))[0]
    return value  # type: ignore[return-value]
