"""The transformer's parts: names as in the course, dropout that is really applied, and inputs that cannot be."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tests.core.compare import near, tensor
from tinytorch import GPT, MLP, CrossEntropyLoss, LayerNorm, Tensor, TransformerBlock, nn, use_backend
from tinytorch.core.autograd import no_grad

pytestmark = pytest.mark.usefixtures("backend")


@pytest.mark.parametrize("shape", [6, (6,), (4, 6), [2, 4, 6]])
def test_layer_norm_over_the_last_axes(shape):
    layer, x = LayerNorm(shape, eps=1e-3), tensor(2, 4, 6)
    axes = tuple(range(-np.size(shape), 0))
    layer.gamma.data[...], layer.beta.data[...] = 2, 0.5
    centred = x.data - x.data.mean(axes, keepdims=True)
    near(layer(x), 2 * centred / np.sqrt(x.data.var(axes, keepdims=True) + 1e-3) + 0.5)


def test_layer_norm_under_pytorchs_names():
    layer = nn.LayerNorm(3)
    assert layer.weight is layer.gamma and layer.bias is layer.beta
    layer.weight = Tensor([1.0, 2.0, 3.0])
    assert layer.gamma.tolist() == [1, 2, 3] and [n for n, _ in layer.named_parameters()] == ["gamma", "beta"]
    with pytest.raises(ValueError, match=r"LayerNorm: x is \(2, 4\), it normalises \(3,\): the last axes must agree"):
        layer(tensor(2, 4))
    assert repr(layer) == "LayerNorm((3,), eps=1e-05)"


def test_mlp_is_linear_gelu_linear():
    mlp, x = MLP(4, dropout_prob=0.0), tensor(2, 3, 4)
    assert mlp.linear1.weight.shape == (4, 16) and mlp.linear2.weight.shape == (16, 4)
    assert MLP(4, 5).linear1.weight.shape == (4, 5)
    near(mlp(x), mlp.linear2(mlp.gelu(mlp.linear1(x))).data)


def test_dropout_of_a_block_is_applied_in_training_alone():
    np.random.seed(0)
    block, x = TransformerBlock(8, 2, dropout_prob=0.5), tensor(2, 5, 8)
    first, second = block(x).data, block(x).data
    assert np.abs(first - second).max() > 0.01
    block.eval()
    np.testing.assert_array_equal(block(x).data, block(x).data)
    certain = TransformerBlock(8, 2, dropout_prob=1.0)
    np.testing.assert_array_equal(certain(x).data, x.data)  # all that would be added is dropped
    model = GPT(5, 8, 1, 2, 4, dropout=0.5)
    assert np.abs(model([[1, 2]]).data - model([[1, 2]]).data).max() > 1e-4


def test_a_block_is_two_sums():
    np.random.seed(0)
    block, x = TransformerBlock(8, 2, dropout_prob=0.0), tensor(2, 5, 8)
    middle = x + block.attention(block.ln1(x))
    near(block(x), (middle + block.mlp(block.ln2(middle))).data)


def test_names_and_number_of_parameters():
    model = GPT(11, 8, 2, 2, 6)
    names = [name for name, _ in model.named_parameters()]
    assert names[:2] == ["token_embedding.weight", "position_embedding.weight"]
    assert names[-3:] == ["ln_f.gamma", "ln_f.beta", "lm_head.weight"]
    assert "blocks.1.attention.q_proj.weight" in names and "blocks.0.mlp.linear2.bias" in names
    per_block = 4 * (8 * 8 + 8) + 2 * 8 * 32 + 32 + 8 + 4 * 8
    assert sum(p.size for p in model.parameters()) == 11 * 8 + 6 * 8 + 2 * per_block + 16 + 8 * 11
    assert "position_embedding.weight" not in GPT(11, 8, 2, 2, 6, positions="rotary").state_dict()


def test_a_position_sees_nothing_that_comes_later():
    np.random.seed(0)
    model, tokens = GPT(11, 8, 2, 2, 6), np.array([[1, 2, 3, 4, 5, 6]])
    changed = tokens.copy()
    changed[0, 3] = 9
    before, after = model(tokens).data, model(changed).data
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert (before[:, 3:] != after[:, 3:]).any(-1).all()


def test_attention_maps_are_the_weights_of_every_layer():
    np.random.seed(0)
    maps = GPT(11, 8, 3, 2, 6).attention_maps([[1, 2, 3, 4]])
    assert [m.shape for m in maps] == [(1, 2, 4, 4)] * 3
    for m in maps:
        np.testing.assert_allclose(m.sum(-1), 1, rtol=1e-5)
        assert (m[..., *np.triu_indices(4, 1)] == 0).all()


def test_two_ways_to_start():
    np.random.seed(0)
    narrow, wide = GPT(500, 64, 2, 2, 8), GPT(500, 64, 2, 2, 8, start="pytorch")
    for model, of_embeddings, of_layers, of_sums in ((narrow, 0.02, 0.02, 0.01), (wide, 1, 192**-0.5, 192**-0.5)):
        found = [
            model.token_embedding.weight,
            model.blocks[0].mlp.linear1.weight,
            model.blocks[1].attention.out_proj.weight,
        ]
        np.testing.assert_allclose([w.data.std() for w in found], [of_embeddings, of_layers, of_sums], rtol=0.05)
    assert not narrow.blocks[0].mlp.linear1.bias.data.any() and wide.blocks[0].mlp.linear1.bias.data.all()


def test_bad_tokens_and_settings():
    model = GPT(11, 8, 1, 2, 6)
    with pytest.raises(IndexError, match=r"id 11 at position \(0, 1\) is outside 0..10; the vocabulary size is 11"):
        model([[1, 11]])
    with pytest.raises(IndexError, match=r"id -1 at position \(1, 0\)"):
        model([[1], [-1]])
    with pytest.raises(ValueError, match="GPT: 7 tokens are given, the model has positions for 6; cut the text or bui"):
        model(np.zeros((1, 7), int))
    for tokens in (np.zeros(3, int), np.zeros((0, 3), int), np.zeros((2, 0), int)):
        with pytest.raises(ValueError, match=r"GPT: tokens are .*: they must be \(batch, positions\), with at least"):
            model(tokens)
    with pytest.raises(ValueError, match="GPT: unknown positions 'none'; known: learned, sinusoidal, rotary"):
        GPT(11, 8, 1, 2, 6, positions="none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="GPT: unknown start 'zero'; known: gpt2, pytorch"):
        GPT(11, 8, 1, 2, 6, start="zero")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="embed_dim 8 does not split into 3 heads"):
        GPT(11, 8, 1, 3, 6)
    with pytest.raises(ValueError, match="head_dim is 3: pairs are turned"):
        GPT(11, 9, 1, 3, 6, positions="rotary")


def test_time_of_backward_grows_with_depth_and_not_faster():
    """In frameworks that walk every path anew each block doubles the time: 24 blocks would take 4,000 times 12's."""
    times = []
    for depth in (12, 24):
        np.random.seed(0)
        model, tokens = GPT(11, 8, depth, 2, 6), np.array([[1, 2, 3, 4]])
        quickest = float("inf")
        for _ in range(3):
            loss = CrossEntropyLoss()(model(tokens), tokens)
            start = time.perf_counter()
            loss.backward()
            quickest = min(quickest, time.perf_counter() - start)
        times.append(quickest)
    assert times[1] < 4 * times[0]  # twice as much work; another process may cost as much again


def test_nothing_is_recorded_with_a_cache():
    model = GPT(11, 8, 1, 2, 6)
    assert not model([[1, 2]], model.new_cache()).requires_grad and model([[1, 2]]).requires_grad
    with no_grad(), use_backend("numpy"):
        assert not model([[1, 2]]).requires_grad
