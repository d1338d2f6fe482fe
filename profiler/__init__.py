"""What a model costs, measured from outside: the code under measurement knows nothing of it.

>>> with profiler.record(model) as recording:
...     model(x)
>>> profiler.parameters(model), profiler.flops(model, x)
>>> with profiler.peak_memory() as memory:
...     train()
"""

from profiler.cost import flops, parameters
from profiler.memory import peak_memory
from profiler.record import Row, record

__all__ = ["Row", "flops", "parameters", "peak_memory", "record"]
