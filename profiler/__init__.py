"""What a model costs, measured from outside: the code under measurement knows nothing of it.

>>> print(profiler.profile(model, x))  # forward and backward, op by op, beside what this machine can do
>>> with profiler.record(model) as recording:  # what runs anywhere in the block
...     model(x)
>>> profiler.parameters(model), profiler.flops(model, x)
>>> with profiler.peak_memory() as memory:
...     train()
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from profiler.cost import flops, parameters
from profiler.memory import peak_memory
from profiler.record import Recording, Row, record

if TYPE_CHECKING:
    from profiler.course import Profiler
    from profiler.profiling import profile
    from profiler.report import Report

__all__ = ["Profiler", "Recording", "Report", "Row", "flops", "parameters", "peak_memory", "profile", "record"]

LATER = {"Profiler": "course", "profile": "profiling", "Report": "report"}  # what imports more is imported when asked


def __getattr__(name: str) -> Any:
    if name not in LATER:
        raise AttributeError(f"module 'profiler' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"profiler.{LATER[name]}"), name)
