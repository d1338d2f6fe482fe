"""A counter that only the timed callables advance, so that no test of timing depends on what else the machine does."""

from profiler import samples


class FakeClock:
    """Stands in for the counter as long as the fixture `monkeypatch` lives."""

    def __init__(self, monkeypatch):
        self.now_ns = 0
        monkeypatch.setattr(samples, "now_ns", lambda: self.now_ns)

    def taking(self, ns):
        """A callable, with or without an argument, that takes `ns`: a number or a function giving one."""

        def run(x=None):
            self.now_ns += ns() if callable(ns) else ns
            return x

        return run
