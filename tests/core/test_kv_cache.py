"""The cache of keys and values: what is written is read, the current token included, and nothing beyond its room."""

from __future__ import annotations

import numpy as np
import pytest

from tests.core.compare import tensor
from tinytorch.perf.memoization import KVCache


def cache(batch=2, capacity=6, layers=3):
    return KVCache(batch_size=batch, max_seq_len=capacity, num_layers=layers, num_heads=4, head_dim=5)


def test_the_current_token_is_there_before_and_after_advance():
    c, key, value = cache(), tensor(2, 4, 1, 5), tensor(2, 4, 1, 5)
    c.update(1, key, value)
    for seq_pos in (0, 1):
        assert c.seq_pos == seq_pos
        for got, wanted in zip(c.get(1), (key, value)):
            np.testing.assert_array_equal(got.data, wanted.data)
        c.advance()


def test_several_tokens_at_once_and_one_by_one():
    c = cache()
    whole = tensor(2, 4, 5, 5), tensor(2, 4, 5, 5)
    for first, end in ((0, 3), (3, 4), (4, 5)):
        for layer in range(3):
            c.update(layer, whole[0][:, :, first:end], whole[1][:, :, first:end])
        assert c.get(2)[1].shape[2] == end
        c.advance()
        assert c.seq_pos == end
    for layer in range(3):
        for got, wanted in zip(c.get(layer), whole):
            np.testing.assert_array_equal(got.data, wanted.data)


def test_updating_twice_without_advance_writes_the_same_place():
    c, (first, second) = cache(), (tensor(2, 4, 1, 5), tensor(2, 4, 1, 5))
    c.update(0, first, first)
    c.update(0, second, second)
    np.testing.assert_array_equal(c.get(0)[0].data, second.data)


def test_reset_forgets():
    c = cache()
    c.update(0, tensor(2, 4, 2, 5), tensor(2, 4, 2, 5))
    c.advance()
    c.reset()
    assert c.seq_pos == 0 and c.get(0)[0].shape == (2, 4, 0, 5) and not c.caches[0][0].data.any()


def test_memory_is_counted_in_bytes():
    usage = cache().get_memory_usage()
    assert usage["total_bytes"] == 2 * 3 * 2 * 4 * 6 * 5 * 4
    assert usage["cache_tensors"] == 6 and usage["total_elements"] * 4 == usage["total_bytes"]
    assert usage["total_mb"] * 2**20 == usage["total_bytes"] and usage["per_layer_mb"] * 3 == usage["total_mb"]


def test_no_room_is_a_clear_error_and_changes_nothing():
    c = cache()
    c.update(0, tensor(2, 4, 6, 5), tensor(2, 4, 6, 5))
    c.advance()
    before = c.get(0)[0].data.copy()
    text = r"KVCache: it holds 6 tokens and has room for 6: 1 more do not fit; reset\(\) it, generate fewer tokens"
    with pytest.raises(ValueError, match=text):
        c.update(0, tensor(2, 4, 1, 5), tensor(2, 4, 1, 5))
    with pytest.raises(ValueError, match=text):
        c.advance()
    np.testing.assert_array_equal(c.get(0)[0].data, before)


def test_bad_sizes_layers_and_shapes():
    with pytest.raises(ValueError, match="KVCache: num_layers is 0; give at least 1"):
        cache(layers=0)
    with pytest.raises(ValueError, match="KVCache: there is no layer 3; layers go from 0 to 2"):
        cache().update(3, tensor(2, 4, 1, 5), tensor(2, 4, 1, 5))
    with pytest.raises(ValueError, match=r"KVCache: key is \(1, 4, 1, 5\): it must be \(2, 4, 1, 5\); make the cache"):
        cache().update(0, tensor(1, 4, 1, 5), tensor(2, 4, 1, 5))
    with pytest.raises(ValueError, match=r"KVCache: value is \(4, 1, 5\): it must be \(2, 4, 'count', 5\)"):
        cache().update(0, tensor(2, 4, 1, 5), tensor(4, 1, 5))
    with pytest.raises(ValueError, match="each key needs one value"):
        cache().update(0, tensor(2, 4, 1, 5), tensor(2, 4, 2, 5))
