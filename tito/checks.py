"""A module of the course: what a student writes, and the checks that tell whether it is right.

A check is a list of cases, the smallest first, so the first that fails is the smallest that does. A case is a piece of
code and what its last line must give: what is shown to the student is what was run, and can be typed in again.
"""

from __future__ import annotations

import ast
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from tito.replacing import replaced

CLOSE = 1e-5  # relative and absolute: float32 sums in another order differ by less, another formula by more
LONGEST = 300  # characters of a value that is shown
CASE = "<case>"  # the file name of a case's code


class Part(NamedTuple):
    """One function or method that a student writes, by its qualified name in the source."""

    name: str
    about: str  # shapes and errors, where our own docstring does not say them
    example: str  # as doctest reads it
    hint: str


class Raises(NamedTuple):
    """The case must raise an error of this kind that has these words."""

    kind: str
    words: str = ""

    def __repr__(self) -> str:
        return f"{self.kind}{f' with the words {self.words!r}' if self.words else ''}"


class Check(NamedTuple):
    """What must hold of one part: `cases` are (code, what it gives)."""

    part: str
    says: str
    cases: tuple[tuple[str, Any], ...]


class Failure(NamedTuple):
    """The smallest case of a check that failed."""

    part: str
    says: str
    code: str
    expected: str
    got: str
    line: int | None = None  # of the student's file, where an error was raised in it


@dataclass(frozen=True)
class Module:
    """A module: its number and name, the question its checkpoint asks, and what a student writes for it.

    `sources` are the modules of ours that the student's files take the place of, the main one first; `parts` are what
    is to be written, by source. What `names` imports is at hand in every case.
    """

    number: int
    name: str
    question: str
    parts: Mapping[str, tuple[Part, ...]]
    names: str
    checks: tuple[Check, ...]

    @property
    def slug(self) -> str:
        """Number and name, such as 02_tensor."""
        return f"{self.number:02}_{self.name}"

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(self.parts)

    def file_of(self, source: str) -> str:
        """What the student's file is called that takes the place of a source."""
        last = source.rpartition(".")[2]
        return f"{self.slug}.py" if source == self.sources[0] else f"{self.slug}_{last}.py"

    def run(self) -> Iterator[tuple[Check, Failure | None]]:
        """Each check with its smallest failing case, against whatever is imported under our names."""
        for check in self.checks:
            yield check, first_failure(check, self.names)


def first_failure(check: Check, names: str) -> Failure | None:
    """The first case that gives something else than it must."""
    for code, expected in check.cases:
        try:
            space: dict[str, Any] = {"np": np}
            np.random.seed(0)
            exec(names, space)
            got = value_of(code, space)
            good, seen = matches(got, expected), shown(got)
            line = None
        except Exception as error:  # a student's code may raise anything
            good = isinstance(expected, Raises) and is_raised(error, expected)
            seen, line = f"{type(error).__name__}: {error}"[:LONGEST], last_line(error)
        if not good:
            return Failure(check.part, check.says, code, shown(expected), seen, line)
    return None


def value_of(code: str, space: dict[str, Any]) -> Any:
    """Run lines of code; the value of the last one, an expression."""
    tree = ast.parse(code)
    last = tree.body.pop()
    assert isinstance(last, ast.Expr), f"a case ends with an expression: {code}"
    exec(compile(tree, CASE, "exec"), space)
    return eval(compile(ast.Expression(last.value), CASE, "eval"), space)


def last_line(error: BaseException) -> int | None:
    """Where in a student's file an error was raised; None where it was not."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_students(frame.filename)]
    return frames[-1].lineno if frames else None


def is_students(filename: str) -> bool:
    """Whether a file of code took the place of one of ours."""
    return filename in replaced().values()


def is_raised(error: Exception, expected: Raises) -> bool:
    kinds = [kind.__name__ for kind in type(error).__mro__]
    return expected.kind in kinds and expected.words in str(error) and not isinstance(error, NotImplementedError)


def matches(got: Any, expected: Any) -> bool:
    """Whether a value is what it must be: numbers within CLOSE and of the same shape, everything else equal."""
    if isinstance(expected, Raises):
        return False
    if isinstance(expected, str | bool | None | dict):
        return type(got) is type(expected) and got == expected
    if isinstance(expected, tuple | list) and any(isinstance(one, str | tuple) for one in expected):
        return type(got) is type(expected) and got == expected
    try:
        a, b = np.asarray(plain(got)), np.asarray(expected)
        if a.dtype.kind not in "fiub" or a.shape != b.shape:
            return False
        return bool(np.allclose(a.astype(np.float64), b.astype(np.float64), CLOSE, CLOSE, equal_nan=True))
    except (TypeError, ValueError):
        return False


def plain(value: Any) -> Any:
    """A tensor's array; anything else as it is."""
    return getattr(value, "data", value) if type(value).__name__ == "Tensor" else value


def shown(value: Any) -> str:
    """A value in a line or a few, without saying of which class its numbers are."""
    if isinstance(value, Raises | str | bool | dict) or value is None:
        text = repr(value)
    else:
        try:
            array = np.asarray(plain(value))
            body = np.array2string(array, precision=5, separator=", ", threshold=20, suppress_small=True)
            text = body if array.dtype.kind in "fiub" else repr(value)
            text += f"  shape {array.shape}" if array.dtype.kind in "fiub" and array.ndim else ""
        except (TypeError, ValueError):
            text = repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 4]} ..."
