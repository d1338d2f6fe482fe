"""TinyMLPerf: an optimisation pipeline, a harness that measures what comes of it, and the command that submits it."""

__version__ = "0.1.0"
