"""Two contestants in one worker, against each other instead of against the reference: the factory of `duel.py`."""

from __future__ import annotations

import sys
from typing import Any

from mlperf.worker import Pair, resolve


def pair(one: dict[str, Any], other: dict[str, Any], samples: str) -> Pair:
    """Two contestants, each a factory and its arguments, asked the same samples; the second stands where candidates do.

    Who writes a text is asked for whole answers alone.
    """
    first: Pair = resolve(one["factory"])(**one["arguments"], samples=samples)
    forget(one["arguments"].get("folder"))
    second: Pair = resolve(other["factory"])(**other["arguments"], samples=samples)
    return Pair(
        ref=first.opt,
        opt=second.opt,
        samples=second.samples,
        told=second.told,
        compiled=lambda: first.compiled() + second.compiled(),
    )


def forget(folder: str | None) -> None:
    """Let the next entry import files of the same names as those that this folder has."""
    if folder is None:
        return
    sys.path[:] = [path for path in sys.path if path != folder]
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(folder):
            del sys.modules[name]
