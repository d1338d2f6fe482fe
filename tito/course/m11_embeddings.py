"""Module 11: embeddings, from ids to vectors that know their places."""

from __future__ import annotations

import math

from tito.checks import Check, Module, Part, Raises

PARTS = (
    Part(
        "Embedding.forward", "", ">>> e = Embedding(3, 2)\n>>> e.weight.data[...] = [[1, 2], [3, 4], [5, 6]]\n"
        ">>> e(np.array([2, 0])).tolist()\n[[5.0, 6.0], [1.0, 2.0]]",
        "as_ids(ids) is a tensor of integers; ops.embedding takes the table first, then the ids, and its gradient "
        "adds up "
        "where an id comes twice.",
    ),
    Part(
        "Positions.forward", "x (..., T, E) gives the same shape; `start_pos` is where its first place stands. Raises "
        "ValueError where x is no row of vectors of width E, or reaches beyond max_seq_len.",
        ">>> PositionalEncoding(4, 2)(Tensor(np.zeros((1, 3, 2)))).shape\n(1, 3, 2)",
        "Look up rows start_pos .. start_pos + T - 1 of self.position_embeddings for each sequence and add them; "
        "looked up by ops.embedding, their gradient has a kernel.",
    ),
    Part(
        "create_sinusoidal_embeddings", "", ">>> create_sinusoidal_embeddings(1, 4).tolist()\n[[0.0, 1.0, 0.0, 1.0]]",
        "A column c belongs to the pair c - c % 2; the angle is position / WAVELENGTH ** (pair / embed_dim). Even "
        "columns "
        "are sines, odd ones cosines.",
    ),
    Part(
        "EmbeddingLayer.forward", "", ">>> EmbeddingLayer(5, 4)(np.array([[1, 2, 3]])).shape\n(1, 3, 4)",
        "Tokens, times math.sqrt(embed_dim) if self.scale_embeddings, then positions if there are any.",
    ),
)  # fmt: skip

E = "e = Embedding(3, 2)\ne.weight.data[...] = [[1, 2], [3, 4], [5, 6]]\n"
P = "p = PositionalEncoding(4, 2)\np.position_embeddings.data[...] = [[1, 1], [2, 2], [3, 3], [4, 4]]\n"
L = "l = EmbeddingLayer(3, 4, 5, pos_encoding={}{})\nl.token_embedding.weight.data[...] = 1\n"
CHECKS = (
    Check("Embedding.forward", "each id becomes its row", (
        (f"{E}e(np.array([1]))", [[3, 4]]),
        (f"{E}e([[2, 0], [1, 1]])", [[[5, 6], [1, 2]], [[3, 4], [3, 4]]]),
        (f"{E}e(Tensor([2.0]))", [[5, 6]]),
    )),
    Check("Embedding.forward", "a row that is used twice gets both gradients", (
        (f"{E}e(np.array([1, 1])).sum().backward()\ne.weight.grad", [[0, 0], [2, 2], [0, 0]]),
    )),
    Check("Embedding.forward", "ids that there are not are errors", (
        (f"{E}e(np.array([3]))", Raises("IndexError", "3")),
        (f"{E}e(Tensor([0.5]))", Raises("ValueError")),
    )),
    Check("Positions.forward", "each place adds its own vector", (
        (f"{P}p(Tensor([[0.0, 0.0]]))", [[1, 1]]),
        (f"{P}p(Tensor(np.zeros((1, 3, 2))))", [[[1, 1], [2, 2], [3, 3]]]),
        (f"{P}p(Tensor([[[10.0, 20.0]], [[30.0, 40.0]]]))", [[[11, 21]], [[31, 41]]]),
        (f"{P}p(Tensor(np.zeros((1, 2, 2))), start_pos=2)", [[[3, 3], [4, 4]]]),
    )),
    Check("Positions.forward", "places are learned", (
        (f"{P}p(Tensor(np.zeros((3, 2, 2)))).sum().backward()\np.position_embeddings.grad",
         [[3, 3], [3, 3], [0, 0], [0, 0]]),
    )),
    Check("Positions.forward", "what does not fit is an error", (
        (f"{P}p(Tensor(np.zeros((1, 5, 2))))", Raises("ValueError", "max_seq_len")),
        (f"{P}p(Tensor(np.zeros((1, 2, 2))), start_pos=3)", Raises("ValueError", "max_seq_len")),
        (f"{P}p(Tensor(np.zeros((1, 2, 3))))", Raises("ValueError")),
        (f"{P}p(Tensor(np.zeros((1, 2, 2))), start_pos=-1)", Raises("ValueError")),
    )),
    Check("create_sinusoidal_embeddings", "sines and cosines, slower from column to column", (
        ("create_sinusoidal_embeddings(1, 4)", [[0, 1, 0, 1]]),
        ("create_sinusoidal_embeddings(2, 2)[1]", [math.sin(1), math.cos(1)]),
        ("create_sinusoidal_embeddings(8, 4)[7]", [math.sin(7), math.cos(7), math.sin(0.07), math.cos(0.07)]),
        ("create_sinusoidal_embeddings(3, 3).shape", (3, 3)),
        ("create_sinusoidal_embeddings(3, 4).dtype.name", "float32"),
    )),
    Check("EmbeddingLayer.forward", "tokens and positions are added, tokens scaled if asked", (
        (f"{L.format('None', '')}l(np.array([[0, 1]]))", [[[1] * 4, [1] * 4]]),
        (f"{L.format('None', ', scale_embeddings=True')}l(np.array([[0]]))", [[[2] * 4]]),
        (f"{L.format(repr('sinusoidal'), '')}l(np.array([[0]]))", [[[1, 2, 1, 2]]]),
        (f"{L.format(repr('sinusoidal'), ', scale_embeddings=True')}l(np.array([[0]]))", [[[2, 3, 2, 3]]]),
        (f"{L.format(repr('sinusoidal'), '')}l(np.array([[0]]), start_pos=1)",
         [[[1 + math.sin(1), 1 + math.cos(1), 1 + math.sin(0.01), 1 + math.cos(0.01)]]]),
    )),
)  # fmt: skip

MODULE = Module(
    11, "embeddings", "Can I give words a meaning and a place?",
    {"tinytorch.core.embeddings": PARTS},
    "from tinytorch.core.embeddings import (\n"
    "    Embedding, EmbeddingLayer, PositionalEncoding, create_sinusoidal_embeddings,\n)\n"
    "from tinytorch.core.tensor import Tensor",
    CHECKS,
)  # fmt: skip
