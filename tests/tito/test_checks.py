"""Cases: what matches what, what is shown, and which case is told."""

import numpy as np
import pytest

from tinytorch import Tensor
from tito import checks
from tito.checks import Check, Raises


@pytest.mark.parametrize(("got", "expected", "good"), [
    (Tensor([1.0, 2.0]), [1, 2], True),
    (np.float64(2.0), 2, True),
    (Tensor([1.0, 2.00001]), [1, 2], True),
    (Tensor([1.0, 2.001]), [1, 2], False),
    (Tensor([[1.0, 2.0]]), [1, 2], False),
    (Tensor([np.inf]), [np.inf], True),
    (None, [1], False),
    ("12", [1, 2], False),
    ([1, "a"], [1, 2], False),
    (1, True, False),
    (True, True, True),
    (None, None, True),
    (0, None, False),
    ("a", "a", True),
    ((2, 3), (2, 3), True),
    (["a", "b"], ["a", "b"], True),
    (NotImplemented, 3, False),
    (Ellipsis, [1], False),
])  # fmt: skip
def test_a_value_is_what_it_must_be(got, expected, good):
    assert checks.matches(got, expected) == good


def told(*cases):
    return checks.first_failure(Check("part", "it works", cases), "")


def test_the_first_case_that_fails_is_told():
    assert told(("1 + 1", 2), ("2 * 2", 4)) is None
    failure = told(("1 + 1", 2), ("x = 3\nx * 2", 5), ("1 / 0", 1))
    assert (failure.code, failure.expected, failure.got) == ("x = 3\nx * 2", "5", "6")


def test_errors_are_told_as_what_came():
    assert told(("1 / 0", 1)).got == "ZeroDivisionError: division by zero"
    assert told(("1 / 0", Raises("ZeroDivisionError"))) is None
    assert told(("1 / 0", Raises("ArithmeticError", "by zero"))) is None
    assert told(("1 / 0", Raises("ValueError"))).expected == "ValueError"
    assert told(("1 / 0", Raises("ArithmeticError", "three"))).expected == "ArithmeticError with the words 'three'"
    assert told(("1", Raises("ValueError"))).got == "1"


def test_what_is_not_written_is_no_error_that_was_asked_for():
    case = "raise_it = lambda: (_ for _ in ()).throw(NotImplementedError('f is yours to write'))\nraise_it()"
    assert told((case, Raises("NotImplementedError"))) is not None
    assert told((case, Raises("Exception"))) is not None


def test_values_are_shown_in_few_words():
    assert checks.shown(Tensor([[1.0, 0.25]])) == "[[1.  , 0.25]]  shape (1, 2)"
    assert checks.shown(3) == "3" and checks.shown(None) == "None" and checks.shown("a") == "'a'"
    assert len(checks.shown(np.random.rand(1000, 1000))) <= checks.LONGEST
    assert len(checks.shown("x" * 10**6)) <= checks.LONGEST
