"""Attention: against the formula by hand, its masks, its bad inputs, and that fused and composed attention agree."""

from __future__ import annotations

import numpy as np
import pytest

from tests.core.compare import near, tensor
from tests.tolerance import NMSE_REDUCTION, nmse
from tinytorch import MultiHeadAttention, Tensor, create_causal_mask, scaled_dot_product_attention
from tinytorch.core.attention import Past, positions_of, rotary_table
from tinytorch.core.autograd import no_grad

pytestmark = pytest.mark.usefixtures("backend")


def by_hand(q, k, v, keep=None):
    scores = q.astype(np.float64) @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    if keep is not None:
        scores = np.where(keep, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return weights @ v, weights


@pytest.mark.parametrize("batch", [(2,), (2, 3), ()])
def test_output_and_weights_by_hand(batch):
    q, k, v = tensor(*batch, 4, 6), tensor(*batch, 5, 6), tensor(*batch, 5, 6)
    output, weights = scaled_dot_product_attention(q, k, v)
    for got, wanted in zip((output, weights), by_hand(q.data, k.data, v.data)):
        near(got, wanted)


def test_a_mask_keeps_where_it_is_one():
    q, k, v = (tensor(2, 4, 6) for _ in range(3))
    mask = create_causal_mask(4)
    assert mask.data.tolist() == [np.tril(np.ones((4, 4))).tolist()]
    output, weights = scaled_dot_product_attention(q, k, v, mask)
    wanted, shares = by_hand(q.data, k.data, v.data, np.tril(np.ones((4, 4))) == 1)
    near(output, wanted)
    near(weights, shares)
    assert (weights.data[:, *np.triu_indices(4, 1)] == 0).all()
    for same in (mask.data == 1, mask.data[0].tolist()):
        np.testing.assert_array_equal(scaled_dot_product_attention(q, k, v, same)[0].data, output.data)


def test_a_row_masked_throughout_weighs_all_alike():
    mask = np.ones((3, 4))
    mask[1] = 0
    _, weights = scaled_dot_product_attention(tensor(3, 2), tensor(4, 2), tensor(4, 2), mask)
    near(weights[1], [0.25] * 4)


def test_a_mask_of_the_wrong_shape_is_named():
    q, k, v = (tensor(2, 4, 6) for _ in range(3))
    text = r"attention: the mask is \(1, 5, 5\), the weights are \(2, 4, 4\): .* is create_causal_mask\(T\)"
    with pytest.raises(ValueError, match=text):
        scaled_dot_product_attention(q, k, v, create_causal_mask(5))
    with pytest.raises(ValueError, match=r"the mask is \(3, 2, 4, 4\)"):  # would make the weights larger
        scaled_dot_product_attention(q, k, v, np.ones((3, 2, 4, 4)))
    with pytest.raises(ValueError, match="create_causal_mask: seq_len is 0; give at least 1"):
        create_causal_mask(0)


@pytest.mark.parametrize("embed_dim, num_heads", [(10, 3), (8, 0), (8, -2), (0, 1), (4, 8)])
def test_bad_head_counts(embed_dim, num_heads):
    text = f"MultiHeadAttention: embed_dim {embed_dim} does not split into {num_heads} heads; choose a number of heads"
    with pytest.raises(ValueError, match=text):
        MultiHeadAttention(embed_dim, num_heads)


@pytest.mark.parametrize("shape", [(4, 8), (2, 4, 6), (8,)])
def test_bad_inputs_of_multi_head_attention(shape):
    with pytest.raises((ValueError, IndexError), match=r"it must be \(batch, positions, 8\)"):
        MultiHeadAttention(8, 2)(tensor(*shape))


@pytest.mark.parametrize("causal", [False, True])
def test_fused_and_composed_attention_agree_with_their_gradients(causal):
    np.random.seed(0)
    layer, (b, t, e) = MultiHeadAttention(12, 3, causal=causal), (2, 7, 12)
    x = tensor(b, t, e, requires_grad=True)
    g = tensor(b, t, e).data
    found = []
    for mask in (None, create_causal_mask(t) if causal else np.ones((t, t))):
        for p in (x, *layer.parameters()):
            p.zero_grad()
        y = layer(x, mask)
        y.backward(g)
        found.append([y.data, x.grad, *(p.grad for p in layer.parameters())])
    for fused, composed in zip(*found):
        assert nmse(fused, composed) <= NMSE_REDUCTION or np.abs(fused - composed).max() < 1e-6  # k's bias: zero
    near(layer.weights(x).data.sum(-1) * Tensor(1.0), np.ones((b, 3, t)))
    assert (layer.weights(x).data[:, :, 0, 1:] == 0).all() == causal


def test_masks_with_two_three_and_four_axes_are_the_same_to_every_head():
    layer, x, mask = MultiHeadAttention(8, 2), tensor(3, 5, 8), create_causal_mask(5)
    wanted = layer(x, mask).data
    for same in (mask[0], mask.data[None], np.repeat(mask.data, 3, 0)):
        np.testing.assert_array_equal(layer(x, same).data, wanted)


def test_rotary_scores_depend_on_distances_alone():
    np.random.seed(1)
    table = rotary_table(40, 8)
    assert table.shape == (40, 8) and table.dtype == np.float32
    layer = MultiHeadAttention(8, 1, rotary=table)
    x = tensor(1, 6, 8)
    here, there = (layer(x, positions=Tensor(np.arange(first, first + 6)[None])) for first in (0, 30))
    near(there, here.data)
    turned = layer(x, positions=Tensor(np.array([[0, 2, 4, 6, 8, 10]])))
    assert np.abs(turned.data - here.data).max() > 1e-4
    with pytest.raises(ValueError, match="rotary_table: head_dim is 3: pairs are turned, so it must be even"):
        rotary_table(4, 3)


def test_a_past_needs_positions_and_takes_no_mask():
    layer, x = MultiHeadAttention(8, 2, causal=True), tensor(1, 2, 8)
    past = Past(*(Tensor(np.zeros((1, 2, 4, 4), np.float32)) for _ in range(2)))
    for how in ({}, {"positions": positions_of(1, 2), "mask": create_causal_mask(2)}):
        with pytest.raises(ValueError, match=r"up to its own place: give positions \(B, T\), and no mask"):
            layer(x, past=past, **how)
    with no_grad():
        near(layer(x, positions=positions_of(1, 2), past=past), layer(x).data)
