"""Every test draws the same numbers, whichever others ran before it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kernels.running import RNG

START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def same_numbers() -> Iterator[None]:
    RNG.bit_generator.state = START
    yield
