"""What all tests share: golden texts, the choice of backend, and how hypothesis draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples every time, so that a failure is seen again; no deadline, since a first call may compile.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden texts anew instead of comparing")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """`golden(name, text)` compares with tests/golden/NAME.txt; `--update-golden` writes that file."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / f"{name}.txt"
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        assert path.exists(), f"there is no {path}; look at the text, then run pytest --update-golden:\n{text}"
        assert text == path.read_text(encoding="utf-8"), f"{path} differs; if it should, run pytest --update-golden"

    return check


@pytest.fixture
def golden_plan(golden: Callable[[str, str], None]) -> Callable[[str, str], None]:
    """`golden` for the table of a plan: constants are packed in panels of the vector width, and it is kept for one."""
    from kernels import cpu

    return golden if cpu.PATH == "avx512" else lambda name, text: None


@pytest.fixture(scope="module", params=["numpy", "numba"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the tests of a module once for each backend."""
    from tinytorch.engine.dispatch import use_backend

    with use_backend(request.param):
        yield request.param
