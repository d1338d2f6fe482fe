"""Embeddings: ids in every form, positions learned and computed, bad ids and lengths, and inside captured plans."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinytorch
from tests.core.compare import equal, near, tensor
from tinytorch import (
    AdamW,
    CrossEntropyLoss,
    Embedding,
    EmbeddingLayer,
    Linear,
    PositionalEncoding,
    Sequential,
    Tensor,
    create_sinusoidal_embeddings,
    nn,
)
from tinytorch.core.embeddings import SinusoidalEncoding
from tinytorch.engine.dispatch import use_backend
from tinytorch.engine.plan import PlanError

pytestmark = pytest.mark.usefixtures("backend")


def test_rows_of_the_table_for_ids_in_any_form():
    layer, ids = Embedding(7, 4), [[0, 6, 3], [3, 3, 1]]
    expected = layer.weight.data[np.array(ids)]
    for given in (ids, np.array(ids), np.array(ids, np.int32), Tensor(np.array(ids)), Tensor(ids), tuple(ids)):
        equal(layer(given), expected)
    equal(layer(5), layer.weight.data[5])
    equal(layer([]), np.zeros((0, 4)))
    equal(layer(np.zeros((2, 0), np.int64)), np.zeros((2, 0, 4)))


def test_a_row_used_twice_receives_both_gradients():
    layer = Embedding(4, 2)
    layer([[1, 1, 2]]).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad, [[0, 0], [2, 2], [1, 1], [0, 0]])


def test_names_sizes_and_start():
    np.random.seed(1)
    layer = nn.Embedding(1000, 64)
    assert [name for name, _ in layer.named_parameters()] == ["weight"] and layer.weight.requires_grad
    assert repr(layer) == "Embedding(vocab_size=1000, embed_dim=64)"
    assert abs(layer.weight.data.std() - 0.02) < 0.0005 and abs(layer.weight.data.mean()) < 0.0005
    np.random.seed(1)
    np.testing.assert_array_equal(Embedding(1000, 64).weight.data, layer.weight.data)


@pytest.mark.parametrize("bad, position", [(7, "(1, 0)"), (-1, "(1, 0)"), (2**24 + 1, "(1, 0)")])
def test_an_id_outside_is_named_with_position_and_vocabulary_size(bad, position):
    message = f"embedding: id {bad} at position {position} is outside 0..6; the vocabulary size is 7"
    for given in ([[0, 1], [bad, 2]], np.array([[0, 1], [bad, 2]])):
        with pytest.raises(IndexError) as error:
            Embedding(7, 4)(given)
        assert message in str(error.value)


@pytest.mark.parametrize("bad", [0.5, np.nan, np.inf, -np.inf])
def test_ids_that_are_no_integers(bad):
    with pytest.raises(ValueError, match=rf"Embedding: id {bad} at position \(2,\): ids must be finite integers; pass"):
        Embedding(7, 4)(Tensor([1, 2, bad]))
    with pytest.raises(ValueError, match="finite integers"):
        Embedding(7, 4)([1, bad])


def test_ids_that_are_no_numbers():
    with pytest.raises(TypeError, match="not numbers"):
        Embedding(7, 4)(["a", "b"])
    with pytest.raises(TypeError, match="rows must have one length"):
        Embedding(7, 4)([[1, 2], [3]])
    with pytest.raises(TypeError, match="ids are bool: they must be integers"):
        Embedding(7, 4)(np.array([True]))


# -- positions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [PositionalEncoding, SinusoidalEncoding])
def test_positions_are_added_row_by_row(kind):
    encoding, x = kind(6, 4), tensor(2, 3, 4)
    table = encoding.position_embeddings.data
    near(encoding(x), x.data + table[:3])
    near(encoding(x, start_pos=3), x.data + table[3:])
    near(encoding(x, np.int64(1)), x.data + table[1:4])
    near(encoding(x[0]), x.data[0] + table[:3])
    near(encoding(tensor(2, 0, 4)), np.zeros((2, 0, 4)))
    assert repr(encoding) == f"{kind.__name__}(max_seq_len=6, embed_dim=4)"


def test_learned_positions_learn_those_in_use():
    encoding, x = PositionalEncoding(5, 2), tensor(3, 2, 2, requires_grad=True)
    encoding(x, start_pos=1).sum().backward()
    np.testing.assert_array_equal(encoding.position_embeddings.grad, [[0, 0], [3, 3], [3, 3], [0, 0], [0, 0]])
    np.testing.assert_array_equal(x.grad, np.ones((3, 2, 2)))
    assert list(encoding.state_dict()) == ["position_embeddings"]
    assert not SinusoidalEncoding(5, 2).state_dict() and not SinusoidalEncoding(5, 2).parameters()


@pytest.mark.parametrize("kind", [PositionalEncoding, SinusoidalEncoding])
def test_positions_beyond_the_table(kind):
    encoding = kind(6, 4)
    with pytest.raises(ValueError, match=r"x is \(2, 7, 4\) from position 0: its last position is 6, max_seq_len is 6"):
        encoding(tensor(2, 7, 4))
    with pytest.raises(ValueError, match="from position 4: its last position is 6, max_seq_len is 6; shorten the"):
        encoding(tensor(1, 3, 4), start_pos=4)
    for start in (-1, 0.5, None):
        with pytest.raises(ValueError, match=f"start_pos is {start}; the first position is 0, 1"):
            encoding(tensor(1, 3, 4), start)
    for shape in ((2, 3, 5), (4,), (2, 3, 1)):
        with pytest.raises(ValueError, match=r"it must be \(\.\.\., length, 4\), as the embedding"):
            encoding(tensor(*shape))


@pytest.mark.parametrize("width", [1, 2, 7, 8])
def test_sines_as_in_the_paper(width):
    table = create_sinusoidal_embeddings(50, width)
    assert table.shape == (50, width) and table.dtype == np.float32 and not table.requires_grad
    for p in range(50):
        for j in range(width):
            angle = p / 10000 ** ((j - j % 2) / width)
            assert table.data[p, j] == np.float32(math.cos(angle) if j % 2 else math.sin(angle))


def test_the_sines_of_a_distance_do_not_depend_on_where_it_is_taken():
    """Why sines: the product of two positions tells their distance alone."""
    table = create_sinusoidal_embeddings(200, 64).data.astype(np.float64)
    products = [table[p] @ table[p + 7] for p in range(193)]
    np.testing.assert_allclose(products, products[0], rtol=1e-5)


# -- all together -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("pos_encoding", ["learned", "sinusoidal", None])
def test_the_whole_layer(pos_encoding, scale):
    layer = EmbeddingLayer(9, 4, max_seq_len=5, pos_encoding=pos_encoding, scale_embeddings=scale)
    ids = np.array([[1, 8, 0], [2, 2, 2]])
    expected = layer.token_embedding.weight.data[ids] * (2 if scale else 1)
    if pos_encoding:
        expected = expected + layer.pos_encoding.position_embeddings.data[1:4]
    near(layer(ids, start_pos=1), expected)
    learned = ["pos_encoding.position_embeddings"] if pos_encoding == "learned" else []
    assert [name for name, _ in layer.named_parameters()] == ["token_embedding.weight", *learned]


def test_an_unknown_encoding_lists_the_known():
    with pytest.raises(ValueError, match="pos_encoding is 'rotary'; known: 'learned', 'sinusoidal' and None"):
        EmbeddingLayer(9, 4, pos_encoding="rotary")


@pytest.mark.parametrize("pos_encoding", ["learned", "sinusoidal", None])
def test_a_plan_follows_new_ids(pos_encoding):
    model = EmbeddingLayer(9, 4, 5, pos_encoding)
    rng = np.random.default_rng(2)
    run = tinytorch.compile(model, rng.integers(0, 9, (2, 3)))
    for _ in range(3):
        ids = rng.integers(0, 9, (2, 3))
        near(Tensor(run(ids)), model(ids).data)


def test_a_plan_wants_integers():
    """Whole numbers in a floating tensor must not become constants of the plan unseen."""
    with pytest.raises(PlanError, match="op cast has no kernel"):
        tinytorch.compile(EmbeddingLayer(9, 4, 5), np.ones((2, 3), np.float32))


def test_a_captured_step_trains_tables_as_an_eager_one():
    def model():
        np.random.seed(3)
        return Sequential(EmbeddingLayer(9, 8, 6), Linear(8, 9))

    rng = np.random.default_rng(4)
    batches = [rng.integers(0, 9, (2, 4, 6)) for _ in range(4)]
    eager, captured = model(), model()
    with use_backend("numba"):
        step = tinytorch.compile_step(captured, AdamW(captured.parameters(), lr=0.1), CrossEntropyLoss(), *batches[0])
        optimizer = AdamW(eager.parameters(), lr=0.1)
        for x, y in batches:
            optimizer.zero_grad()
            loss = CrossEntropyLoss()(eager(x), Tensor(y))
            loss.backward()
            optimizer.step()
            assert step(x, y) == pytest.approx(loss.item(), rel=1e-5)
    for a, b in zip(eager.parameters(), captured.parameters()):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-4, atol=1e-6)
