"""What one fault of the self-test came to."""

from collections.abc import Callable
from typing import NamedTuple

Tick = Callable[[], object]  # called once for every try


class Outcome(NamedTuple):
    """`lost` says of every try that went wrong how; the others held, as `held` says."""

    fault: str
    tried: int
    held: str
    lost: tuple[str, ...]
