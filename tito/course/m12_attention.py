"""Module 12: attention."""

from __future__ import annotations

import math

from tito.checks import Check, Module, Part, Raises

PARTS = (
    Part(
        "create_causal_mask", "Raises ValueError for a length below 1.",
        ">>> create_causal_mask(2).tolist()\n[[[1.0, 0.0], [1.0, 1.0]]]", "np.tril keeps what is on and below the "
        "diagonal.",
    ),
    Part(
        "scaled_dot_product_attention", "", ">>> one = Tensor([[[1.0]]])\n"
        ">>> out, weights = scaled_dot_product_attention(one, one, Tensor([[[7.0]]]))\n"
        ">>> out.tolist(), weights.tolist()\n"
        "([[[7.0]]], [[[1.0]]])",
        "Scores are Q times K transposed, times D ** -0.5. Where the mask is 0, MASKED takes the place of the score: "
        "ops.where(keep, scores, that), after check_mask. Softmax over the last axis gives the weights.",
    ),
    Part(
        "MultiHeadAttention.heads", "Raises ValueError where x is not (B, T, embed_dim).",
        ">>> [h.shape for h in MultiHeadAttention(4, 2).heads(Tensor(np.zeros((1, 3, 4))))]\n"
        "[(1, 2, 3, 2), (1, 2, 3, 2), (1, 2, 3, 2)]",
        "Each of q_proj, k_proj, v_proj, then reshape to (B, T, heads, width), then exchange axes 1 and 2. With a "
        "rotary "
        "table queries and keys are turned: ops.rotary(h, Tensor(self.rotary), places, inverse=False).",
    ),
    Part(
        "MultiHeadAttention.forward", "x (B, T, embed_dim) gives the same shape. Raises ValueError for `past` without "
        "positions, or with a mask.",
        ">>> MultiHeadAttention(4, 2)(Tensor(np.zeros((1, 3, 4)))).shape\n(1, 3, 4)",
        "With past: ops.cache_write both, then ops.cached_attention. With a mask: the formula above, for_heads(mask). "
        "Else ops.attention with causal= and scale=. Then heads back beside each other, and out_proj.",
    ),
)  # fmt: skip

ONE = math.e / (1 + math.e)
M = "np.random.seed(3)\nm = MultiHeadAttention(4, 2{})\nx = Tensor(np.random.rand(2, 3, 4))\n"
IDENTITY = (
    "m = MultiHeadAttention(2, {})\nfor p in (m.q_proj, m.k_proj, m.v_proj, m.out_proj):\n"
    "    p.weight.data[...] = np.eye(2)\n    p.bias.data[...] = 0\n"
)
CHECKS = (
    Check("create_causal_mask", "nobody sees what comes later", (
        ("create_causal_mask(1)", [[[1]]]),
        ("create_causal_mask(3)", [[[1, 0, 0], [1, 1, 0], [1, 1, 1]]]),
        ("create_causal_mask(0)", Raises("ValueError")),
    )),
    Check("scaled_dot_product_attention", "a query takes values by how well keys fit", (
        ("a = scaled_dot_product_attention\na(Tensor([[[1.0]]]), Tensor([[[1.0]]]), Tensor([[[7.0]]]))[0]", [[[7]]]),
        ("scaled_dot_product_attention(Tensor([[[0.0]]]), Tensor([[[1.0], [2.0]]]), Tensor([[[1.0], [3.0]]]))[0]",
         [[[2]]]),
        ("scaled_dot_product_attention(Tensor([[[1.0]]]), Tensor([[[1.0], [0.0]]]), Tensor([[[1.0], [0.0]]]))[1]",
         [[[ONE, 1 - ONE]]]),
    )),
    Check("scaled_dot_product_attention", "scores are divided by the root of the width", (
        ("q = Tensor(np.ones((1, 1, 4)))\nk = Tensor(np.float32([[[0.5] * 4, [0] * 4]]))\n"
         "scaled_dot_product_attention(q, k, Tensor([[[1.0], [0.0]]]))[0]", [[[ONE]]]),
    )),
    Check("scaled_dot_product_attention", "a pair that is masked has no weight", (
        ("k = Tensor([[[5.0], [1.0]]])\n"
         "scaled_dot_product_attention(k, k, k, Tensor([[[1.0, 0.0], [1.0, 1.0]]]))[1][0, 0]",
         [1, 0]),
        ("k = Tensor([[[5.0], [1.0]]])\nscaled_dot_product_attention(k, k, k, np.zeros((2, 2)))[1]",
         [[[0.5, 0.5], [0.5, 0.5]]]),
        ("k = Tensor([[[5.0], [1.0]]])\nscaled_dot_product_attention(k, k, k, np.zeros((3, 3)))", Raises("ValueError")),
    )),
    Check("MultiHeadAttention.heads", "each head has its own part of the width", (
        ("[h.shape for h in MultiHeadAttention(6, 3).heads(Tensor(np.zeros((2, 5, 6))))][0]", (2, 3, 5, 2)),
        (f"{IDENTITY.format(2)}m.heads(Tensor([[[1, 2], [3, 4]]]))[0]", [[[[1], [3]], [[2], [4]]]]),
        ("MultiHeadAttention(4, 2).heads(Tensor(np.zeros((1, 3, 5))))", Raises("ValueError")),
        ("m = MultiHeadAttention(2, 1, rotary=rotary_table(4, 2))\nm.q_proj.weight.data[...] = np.eye(2)\n"
         "m.q_proj.bias.data[...] = 0\nm.heads(Tensor([[[1, 0], [1, 0]]]))[0][0, 0]",
         [[1, 0], [math.cos(1), math.sin(1)]]),
    )),
    Check("MultiHeadAttention.forward", "heads attend, stand beside each other again, and are projected", (
        (f"{IDENTITY.format(1)}m(Tensor([[[3, 4]]]))", [[[3, 4]]]),
        (f"{IDENTITY.format(2)}m(Tensor([[[3, 4]]]))", [[[3, 4]]]),
        (f"{IDENTITY.format(1)}m.out_proj.bias.data[...] = [10, 20]\nm(Tensor([[[3, 4]]]))", [[[13, 24]]]),
        (f"{M.format('')}(m(x) - m(x, mask=np.ones((3, 3)))).abs().max().item() < 1e-5", True),
    )),
    Check("MultiHeadAttention.forward", "a causal one does not see what comes later", (
        (f"{M.format(', causal=True')}y = m(x).data.copy()\nx.data[:, 2] = 9\n"
         "bool(np.allclose(m(x).data[:, :2], y[:, :2], atol=1e-6))", True),
        (f"{M.format(', causal=True')}(m(x) - m(x, mask=create_causal_mask(3))).abs().max().item() < 1e-5", True),
        (f"{M.format('')}y = m(x).data.copy()\nx.data[:, 2] = 9\n"
         "bool(np.allclose(m(x).data[:, :2], y[:, :2], atol=1e-6))", False),
    )),
    Check("MultiHeadAttention.forward", "with a past, a token after the other gives what all at once do", (
        (f"{M.format(', causal=True')}past = Past(*(Tensor(np.zeros((2, 2, 3, 2))) for _ in 'kv'))\n"
         "with no_grad():\n"
         "    parts = [m(x[:, i:i + 1], positions=Tensor(np.full((2, 1), i)), past=past).data for i in range(3)]\n"
         "bool(np.allclose(np.concatenate(parts, 1), m(x).data, atol=1e-5))", True),
        (f"{M.format('')}past = Past(*(Tensor(np.zeros((2, 2, 3, 2))) for _ in 'kv'))\nm(x, past=past)",
         Raises("ValueError", "positions")),
    )),
)  # fmt: skip

MODULE = Module(
    12, "attention", "Can I let every word ask all others what matters?",
    {"tinytorch.core.attention": PARTS},
    "from tinytorch.core.attention import (\n    MultiHeadAttention, Past, create_causal_mask, rotary_table,\n"
    "    scaled_dot_product_attention,\n)\nfrom tinytorch.core.autograd import no_grad\n"
    "from tinytorch.core.tensor import Tensor",
    CHECKS,
)  # fmt: skip
