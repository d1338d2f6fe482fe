"""Module 17: memoization, the cache of keys and values."""

from __future__ import annotations

from tito.checks import Check, Module, Part, Raises

PARTS = (
    Part(
        "KVCache.positions", "", ">>> KVCache(1, 4, 1, 1, 1).positions(2).tolist()\n[[0, 1]]",
        "self.lengths has how many tokens each row holds; the next ones follow. Check against self.seq_pos first.",
    ),
    Part(
        "KVCache.update", "Raises ValueError for other shapes, and where there is no room.",
        ">>> c = KVCache(1, 4, 1, 1, 1)\n>>> c.update(0, Tensor([[[[5.0]]]]), Tensor([[[[6.0]]]]))\n"
        ">>> c.get(0)[0].tolist()\n[[[[5.0]]]]",
        "ops.cache_write(held array, new array, positions) writes in place. Remember in self._waiting how many "
        "tokens the "
        "layer was given.",
    ),
    Part(
        "KVCache.get", "", ">>> [part.shape for part in KVCache(1, 4, 1, 1, 1).get(0)]\n[(1, 1, 0, 1), (1, 1, 0, 1)]",
        "What is held, and what waits since the last advance, cut off the third axis.",
    ),
    Part(
        "KVCache.advance", "Raises ValueError where there is no room.",
        ">>> c = KVCache(1, 4, 1, 1, 1)\n>>> c.advance(3)\n>>> c.seq_pos\n3",
        "`count`, or what waits, or 1. self.positions(count) refuses what does not fit. Nothing waits afterwards.",
    ),
)  # fmt: skip

C = "c = KVCache(1, 3, 2, 1, 1)\nt = lambda *v: Tensor(np.float32(v).reshape(1, 1, -1, 1))\n"
CHECKS = (
    Check("KVCache.positions", "the next tokens follow those that are held", (
        ("KVCache(1, 4, 1, 1, 1).positions(1)", [[0]]),
        ("c = KVCache(2, 4, 1, 1, 1)\nc.lengths[...] = [0, 2]\nc.positions(2)", [[0, 1], [2, 3]]),
        ("KVCache(1, 4, 1, 1, 1).positions(5)", Raises("ValueError", "room for 4")),
        ("KVCache(1, 4, 1, 1, 1).positions(4).dtype.kind", "i"),
    )),
    Check("KVCache.update", "keys and values are written, layer by layer", (
        (f"{C}c.update(0, t(5), t(6))\nc.get(0)[0]", [[[[5]]]]),
        (f"{C}c.update(0, t(5), t(6))\nc.get(0)[1]", [[[[6]]]]),
        (f"{C}c.update(1, t(5), t(6))\nc.get(0)[0].shape", (1, 1, 0, 1)),
        (f"{C}c.update(0, t(1, 2), t(3, 4))\nc.get(0)[1]", [[[[3], [4]]]]),
    )),
    Check("KVCache.update", "new tokens come behind those that are held", (
        (f"{C}c.update(0, t(1), t(2))\nc.advance()\nc.update(0, t(3), t(4))\nc.get(0)[0]", [[[[1], [3]]]]),
        (f"{C}c.update(0, t(1), t(2))\nc.update(0, t(3), t(4))\nc.get(0)[0]", [[[[3]]]]),
    )),
    Check("KVCache.update", "what does not fit is an error", (
        (f"{C}c.update(0, t(1, 2, 3, 4), t(1, 2, 3, 4))", Raises("ValueError", "room for 3")),
        (f"{C}c.update(2, t(1), t(1))", Raises("ValueError", "no layer 2")),
        (f"{C}c.update(0, t(1), t(1, 2))", Raises("ValueError")),
        (f"{C}c.update(0, Tensor(np.zeros((1, 1, 1, 2))), t(1))", Raises("ValueError")),
    )),
    Check("KVCache.advance", "what waits is held from now on", (
        (f"{C}c.update(0, t(1, 2), t(3, 4))\nc.seq_pos", 0),
        (f"{C}c.update(0, t(1, 2), t(3, 4))\nc.advance()\nc.seq_pos", 2),
        (f"{C}c.advance()\nc.seq_pos", 1),
        (f"{C}c.advance(2)\nc.advance(1)\nc.seq_pos", 3),
        (f"{C}c.advance(4)", Raises("ValueError")),
        (f"{C}c.update(0, t(1, 2), t(3, 4))\nc.advance()\nc.advance()\nc.seq_pos", 3),
    )),
    Check("KVCache.get", "no more than was given can be read", (
        (f"{C}c.get(0)[0].shape", (1, 1, 0, 1)),
        (f"{C}c.update(0, t(1, 2), t(3, 4))\nc.get(0)[0].shape", (1, 1, 2, 1)),
        (f"{C}c.update(0, t(1, 2), t(3, 4))\nc.advance()\nc.reset()\nc.get(0)[0].shape", (1, 1, 0, 1)),
    )),
    Check("KVCache.update", "a transformer writes the same with it as without", (
        ("np.random.seed(0)\ng = GPT(9, 8, 2, 2, 16, start='pytorch')\n"
         "list(np.asarray(g.generate([1, 2, 3], 8, temperature=0)).ravel()) == "
         "list(np.asarray(g.generate([1, 2, 3], 8, temperature=0, use_cache=False)).ravel())", True),
    )),
)  # fmt: skip

MODULE = Module(
    17, "memoization", "Can I avoid computing twice what does not change?",
    {"tinytorch.core.kv_cache": PARTS},
    "from tinytorch.core.kv_cache import KVCache\nfrom tinytorch.core.tensor import Tensor\n"
    "from tinytorch.core.transformer import GPT",
    CHECKS,
)  # fmt: skip
