"""Module 13: the transformer."""

from __future__ import annotations

from tito.checks import Check, Module, Part, Raises

PARTS = (
    Part(
        "LayerNorm.forward", "x (..., *normalized_shape) gives the same shape. Raises ValueError where the last "
        "axes differ.",
        ">>> LayerNorm(2)(Tensor([[1.0, 3.0]])).data.round(2).tolist()\n[[-1.0, 1.0]]",
        "ops.layer_norm normalises the last axis; where several are normalised, join them first and take them apart "
        "afterwards.",
    ),
    Part(
        "MLP.forward", "", ">>> MLP(2)(Tensor(np.zeros((1, 3, 2)))).shape\n(1, 3, 2)",
        "linear1, gelu, linear2, dropout.",
    ),
    Part(
        "TransformerBlock.forward", "x (B, T, embed_dim) gives the same shape.",
        ">>> TransformerBlock(4, 2)(Tensor(np.zeros((1, 3, 4)))).shape\n(1, 3, 4)",
        "Normalise before, add after: the stream of residuals itself is never normalised. What attention gives goes "
        "through dropout first; the MLP has its own.",
    ),
    Part(
        "GPT.hidden", "", ">>> g = GPT(5, 4, 1, 2, 8)\n"
        ">>> g.hidden(Tensor(np.array([[1, 2]])), Tensor(np.array([[0, 1]]))).shape\n(1, 2, 4)",
        "self.embedded, then each block with its own past, if there are caches, then the last norm.",
    ),
    Part(
        "GPT.forward", "tokens (B, T) give (B, T, vocab_size). Raises ValueError for other shapes and for texts "
        "that are "
        "too long.",
        ">>> GPT(5, 4, 1, 2, 8)(np.array([[1, 2, 3]])).shape\n(1, 3, 5)",
        "as_ids(tokens); positions_of(batch, count) without a cache; with one inside no_grad, positions from "
        "cache.positions(count), its caches, and cache.advance(count) at the end.",
    ),
)  # fmt: skip

B = "np.random.seed(1)\nb = TransformerBlock(4, 2, dropout_prob=0.0)\nx = Tensor(np.random.rand(1, 3, 4))\n"
G = "np.random.seed(1)\ng = GPT(7, 8, 2, 2, 6, start='pytorch')\nids = np.array([[1, 2, 3, 4]])\n"
CHECKS = (
    Check("LayerNorm.forward", "each row has mean 0 and variance 1, then scale and shift", (
        ("LayerNorm(2)(Tensor([[1.0, 3.0]]))", [[-0.999995, 0.999995]]),
        ("n = LayerNorm(2)\nn.gamma.data[...] = [2, 3]\nn.beta.data[...] = [10, 20]\n"
         "n(Tensor([[1.0, 3.0]])).data.round(3)",
         [[8, 23]]),
        ("LayerNorm((2, 2))(Tensor([[[1.0, 1.0], [3.0, 3.0]]])).data.round(3)", [[[-1, -1], [1, 1]]]),
        ("LayerNorm(3)(Tensor([[1.0, 3.0]]))", Raises("ValueError")),
    )),
    Check("MLP.forward", "wider, bent, and narrow again", (
        ("m = MLP(1, 1, 0.0)\nm.linear1.weight.data[...] = 1\nm.linear1.bias.data[...] = 0\n"
         "m.linear2.weight.data[...] = 2\nm.linear2.bias.data[...] = 5\nm(Tensor([[1.0]]))", [[5 + 2 * 0.841345]]),
        ("m = MLP(2, dropout_prob=1.0)\nm(Tensor([[1.0, 2.0]]))", [[0, 0]]),
        ("MLP(2).linear1.weight.shape", (2, 8)),
    )),
    Check("TransformerBlock.forward", "what attention and MLP find is added to what was there", (
        (f"{B}b.attention.out_proj.weight.data[...] = 0\nb.attention.out_proj.bias.data[...] = 1\n"
         "b.mlp.linear2.weight.data[...] = 0\nb.mlp.linear2.bias.data[...] = 10\n(b(x) - x).data.round(4)",
         [[[11] * 4] * 3]),
        (f"{B}h = x + b.attention(b.ln1(x))\n(b(x) - (h + b.mlp(b.ln2(h)))).abs().max().item() < 1e-5", True),
        (f"{B}b.dropout.p = 1.0\nb.mlp.dropout.p = 1.0\n(b(x) - x).abs().max().item()", 0.0),
    )),
    Check("TransformerBlock.forward", "a mask reaches the attention", (
        (f"{B}mask = np.tril(np.ones((3, 3)))\ny = b(x, mask).data.copy()\nx.data[:, 2] = 5\n"
         "bool(np.allclose(b(x, mask).data[:, :2], y[:, :2], atol=1e-5))", True),
    )),
    Check("GPT.hidden", "every block is used, and the norm comes last", (
        (f"{G}h = g.hidden(Tensor(ids), Tensor(np.array([[0, 1, 2, 3]])))\nh.data.mean(-1).round(4)", [[0] * 4]),
        (f"{G}p = Tensor(np.array([[0, 1, 2, 3]]))\nx = g.embedded(Tensor(ids), p)\nfor b in g.blocks:\n    x = b(x)\n"
         "(g.ln_f(x) - g.hidden(Tensor(ids), p)).abs().max().item() < 1e-5", True),
    )),
    Check("GPT.forward", "logits for each place, of which none knows what comes later", (
        (f"{G}g(ids).shape", (1, 4, 7)),
        (f"{G}y = g(ids).data.copy()\nids[0, 3] = 0\nbool(np.allclose(g(ids).data[:, :3], y[:, :3], atol=1e-5))", True),
        (f"{G}ids[0, 3] = 0\na = g(ids).data.copy()\nids[0, 0] = 0\nbool(np.allclose(g(ids).data, a))", False),
    )),
    Check("GPT.forward", "with a cache the same logits come, part by part, and nothing is recorded", (
        (f"{G}c = g.new_cache()\nparts = [g(ids[:, :3], cache=c).data, g(ids[:, 3:], cache=c).data]\n"
         "bool(np.allclose(np.concatenate(parts, 1), g(ids).data, atol=1e-4))", True),
        (f"{G}c = g.new_cache()\ng(ids, cache=c)\nc.seq_pos", 4),
        (f"{G}g(ids, cache=g.new_cache()).requires_grad", False),
        (f"{G}g(ids).requires_grad", True),
    )),
    Check("GPT.forward", "texts that are none or too long are errors", (
        (f"{G}g(np.zeros((1, 7), int))", Raises("ValueError", "max_seq_len")),
        (f"{G}g(np.zeros(3, int))", Raises("ValueError")),
        (f"{G}g(np.zeros((1, 0), int))", Raises("ValueError")),
    )),
)  # fmt: skip

MODULE = Module(
    13, "transformers", "Can I build a network that writes?",
    {"tinytorch.core.transformer": PARTS},
    "from tinytorch.core.tensor import Tensor\n"
    "from tinytorch.core.transformer import GPT, MLP, LayerNorm, TransformerBlock",
    CHECKS,
)  # fmt: skip
