"""Dropout: known answers of its generator, the same bits as the reference, and how often it keeps."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import dropout as compiled
from kernels.elementwise import BLOCK
from tests.kernels.running import layouts, normal, run
from tinytorch.engine import ops
from tinytorch.engine.ops.dropout import philox

KEYS = (0, 1, -1, 2**62 + 12345, -(2**63))

# Counter, key and words of Philox 4x32-10 as its authors published them with their library (Random123).
KNOWN = (
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
     (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
)  # fmt: skip


@pytest.mark.parametrize("counter, key, words", KNOWN)
def test_the_generator_gives_the_published_words(counter, key, words):
    result = philox(np.array(counter, np.uint64)[:, None], np.array(key, np.uint64))
    assert tuple(int(word) for word in result[:, 0]) == words


def test_the_compiled_generator_gives_the_same_words():
    for counter in (0, 1, 2**32 - 1, 2**32, 2**40 + 7):
        for key in (0, 2**63 + 5, 2**32 - 1):
            halves = [np.uint64(counter & 0xFFFFFFFF), np.uint64(counter >> 32), np.uint64(0), np.uint64(0)]
            expected = philox(np.array(halves)[:, None], np.array([key & 0xFFFFFFFF, key >> 32], np.uint64))
            assert list(compiled.philox(np.uint64(counter), np.uint64(key))) == expected[:, 0].tolist()


@pytest.mark.parametrize("p", (0.0, 1e-9, 0.1, 0.5, 1.0))
@pytest.mark.parametrize("size", (1, 255, 256, 257, BLOCK - 1, BLOCK, 3 * BLOCK + 700))
def test_the_same_bits_as_the_reference(size, p):
    x = normal(size)
    x[0] = np.inf
    for key in KEYS:
        with np.errstate(invalid="ignore"):  # infinity that is dropped is nan
            expected = ops.dropout.reference(x, np.array(key), p=p)
        np.testing.assert_array_equal(run("dropout", x, np.array(key), p=p), expected)


def test_the_mask_goes_by_position_whatever_the_layout():
    x = normal(7, 8, 9)
    expected = run("dropout", x, np.array(3), p=0.4)
    for other in layouts(x):
        np.testing.assert_array_equal(run("dropout", other, np.array(3), p=0.4), expected)


def test_it_keeps_as_often_as_it_should_and_keys_and_neighbours_are_independent():
    n, p = 400_000, 0.3
    ones = np.ones(n, np.float32)
    masks = [run("dropout", ones, np.array(key), p=p) > 0 for key in (1, 2, 2**32 + 1)]
    bound = 5 * np.sqrt(p * (1 - p) / n)  # five standard deviations
    for mask in masks:
        assert abs(mask.mean() - (1 - p)) < bound
        for lag in (1, 2, 3, 255, 256, 257, BLOCK):
            assert abs((mask[lag:] & mask[:-lag]).mean() - (1 - p) ** 2) < 2 * bound
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert abs((masks[a] & masks[b]).mean() - (1 - p) ** 2) < 2 * bound
