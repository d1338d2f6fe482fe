"""Generated text: the same with a cache, without, and compiled; sampling as asked; and bad requests named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch import GPT, Decoder, Tensor
from tinytorch.core.generation import Cached, Recomputed, Sampler, padded, stream

VOCABULARY, CAPACITY = 23, 24


def gpt(positions="learned", layers=3):
    np.random.seed(7)
    model = GPT(VOCABULARY, 24, layers, 3, CAPACITY, positions=positions)
    for p in model.parameters():  # larger than at the start, so that tokens matter to each other
        p.data[...] += np.random.normal(0, 0.3, p.shape)
    return model.eval()


def ids(*shape):
    return np.random.default_rng(3).integers(0, VOCABULARY, shape)


READERS = {"cached": Cached, "recomputed": Recomputed, "compiled": lambda model: Decoder(model, batch=2)}
each_kind = pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])


@each_kind
@pytest.mark.parametrize("prompt", [1, 2, 7, 16, 23])
def test_logits_of_every_position_are_those_of_a_full_pass(backend, positions, prompt):
    model, tokens = gpt(positions), ids(2, CAPACITY)
    full = model(tokens).data
    made = {name: make(model) for name, make in READERS.items() if name != "compiled" or backend == "numba"}
    for reader in made.values():
        logits = reader.prefill(tokens[:, :prompt], np.full(2, prompt))
        for at in range(prompt, CAPACITY + 1):
            assert np.abs(logits - full[:, at - 1]).max() <= 1e-4
            logits = reader.decode(tokens[:, at]) if at < CAPACITY else logits


def test_a_cache_given_to_forward_is_filled_and_used(backend):
    model, tokens = gpt(), ids(2, 20)
    cache = model.new_cache(2)
    parts = [model(tokens[:, a:b], cache).data for a, b in ((0, 5), (5, 6), (6, 20))]
    assert cache.seq_pos == 20
    assert np.abs(np.concatenate(parts, 1) - model(tokens).data).max() <= 1e-4
    with pytest.raises(ValueError, match="it holds 20 tokens and has room for 24: 5 more do not fit"):
        model(tokens[:, :5], cache)


@each_kind
@pytest.mark.parametrize("how", [{"temperature": 0}, {"seed": 5}, {"seed": 5, "top_k": 4, "top_p": 0.8}])
def test_the_same_text_with_and_without_cache_and_compiled(positions, how):
    model, prompts = gpt(positions), [ids(9)[:4].tolist(), ids(9).tolist()]
    wanted = model.generate(prompts, 12, use_cache=False, **how)
    for got in (model.generate(prompts, 12, **how), Decoder(model, batch=2).generate(prompts, 12, **how)):
        assert [t.tolist() for t in got] == [t.tolist() for t in wanted]
    assert [t.tolist()[:n] for t, n in zip(wanted, (4, 9))] == prompts and [len(t) for t in wanted] == [16, 21]


def test_a_text_does_not_depend_on_the_others_of_its_batch():
    model, prompts = gpt(), ids(2, 5)
    together = model.generate(prompts, 10, seed=2)
    assert together.shape == (2, 15) and together.dtype == np.int64
    alone = model.generate(prompts[0], 10, seed=2)
    assert alone.shape == (15,) and alone.tolist() == together.data[0].tolist()


def test_kinds_of_prompts():
    model = gpt()
    wanted = model.generate(ids(1, 5), 3, temperature=0).data
    floats = Tensor(ids(1, 5).astype(np.float32))
    for same in (Tensor(ids(1, 5)), ids(1, 5).tolist(), ids(1, 5).astype(np.int32), floats):
        np.testing.assert_array_equal(model.generate(same, 3, temperature=0).data, wanted)
    np.testing.assert_array_equal(model.generate(ids(1, 5)[0].tolist(), 3, temperature=0).data, wanted[0])


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_window_lets_a_text_outgrow_the_positions(use_cache):
    """Where it is full, it goes on as if its last tokens were all there is."""
    model = gpt()
    text = model.generate(ids(5), 40, temperature=0, window=6, use_cache=use_cache).tolist()
    assert len(text) == 45
    assert text[:25] == model.generate(ids(5), 20, temperature=0).tolist()
    again = model.generate(np.array(text[25 - 6 : 25]), 19, temperature=0).tolist()
    assert text[25 - 6 : 25 + 19] == again
    assert Decoder(model).generate(ids(5), 40, temperature=0, window=6).tolist() == text


def test_what_is_written_as_it_comes():
    model = gpt()
    steps = list(stream(Cached(model), [[1, 2], [3]], 5, Sampler(0)))
    assert [s.shape for s in steps] == [(2,)] * 5
    assert np.stack(steps, 1).tolist() == [t.tolist()[n:] for t, n in zip(model.generate([[1, 2], [3]], 5, 0), (2, 1))]


BAD = [
    ({"max_new_tokens": 0}, "generate: max_new_tokens is 0; give at least 1"),
    ({"max_new_tokens": -3}, "max_new_tokens is -3"),
    ({"temperature": -0.1}, r"temperature is -0.1; choose 0 \(the likeliest token\) or above"),
    ({"temperature": float("nan")}, "temperature is nan"),
    ({"temperature": float("inf")}, "temperature is inf"),
    ({"top_k": 0}, "top_k is 0; give at least 1, or None for all tokens"),
    ({"top_p": 0.0}, "top_p is 0.0, it is a probability: choose it above 0 and up to 1"),
    ({"top_p": 1.5}, "top_p is 1.5"),
    ({"window": 0}, "window is 0; choose it from 1 to the model's 24 positions"),
    ({"window": 25}, "window is 25"),
    ({"max_new_tokens": 22}, "a prompt of 4 tokens and 22 new ones need 25 positions, the model has 24; ask for fewer"),
]  # fmt: skip


@pytest.mark.parametrize("how, text", BAD)
@pytest.mark.parametrize("use_cache", [True, False])
def test_bad_requests(how, text, use_cache):
    with pytest.raises(ValueError, match=text):
        gpt(layers=1).generate(ids(4), **{"max_new_tokens": 2, **how}, use_cache=use_cache)


@pytest.mark.parametrize("prompt", [[], np.zeros((0,), int), np.zeros((2, 0), int), [[1], []], np.zeros((0, 3), int)])
def test_empty_prompts(prompt):
    with pytest.raises(ValueError, match="generate: the prompt is empty; give at least one token to go on from"):
        gpt(layers=1).generate(prompt, 3)
    with pytest.raises(ValueError, match=r"generate: the prompt is \(1, 1, 1\): it must be \(T,\) or \(batch, T\)"):
        gpt(layers=1).generate(np.zeros((1, 1, 1), int), 3)


@pytest.mark.parametrize("use_cache", [True, False])
def test_ids_out_of_range_name_id_position_and_vocabulary(use_cache):
    with pytest.raises(IndexError, match=r"id 23 at position \(0, 2\) is outside 0..22; the vocabulary size is 23"):
        gpt(layers=1).generate([1, 2, 23], 3, use_cache=use_cache)


def test_nan_logits_are_not_drawn_from():
    model = gpt(layers=1)
    model.ln_f.gamma.data[0] = np.nan
    with pytest.raises(ArithmeticError, match="the model's logits are nan; look at its weights"):
        model.generate([1, 2], 3)


# -- sampling ----------------------------------------------------------------------------------------------------------

LOGITS = np.log(np.array([[0.5, 0.2, 0.15, 0.1, 0.05]]))


@pytest.mark.parametrize("how, wanted", [
    ({}, [0.5, 0.2, 0.15, 0.1, 0.05]),
    ({"temperature": 0.5}, [100 / 130, 16 / 130, 9 / 130, 4 / 130, 1 / 130]),
    ({"top_k": 2}, [5 / 7, 2 / 7, 0, 0, 0]),
    ({"top_k": 9}, [0.5, 0.2, 0.15, 0.1, 0.05]),
    ({"top_p": 0.49}, [0.5, 0, 0, 0, 0]),
    ({"top_p": 0.51}, [0.5, 0.2, 0, 0, 0]),
    ({"top_p": 1.0}, [0.5, 0.2, 0.15, 0.1, 0.05]),
    ({"top_k": 3, "top_p": 0.6}, [10 / 17, 4 / 17, 0, 0, 0]),
])  # fmt: skip
def test_what_is_drawn_from(how, wanted):
    shuffled = np.array([3, 0, 4, 2, 1])
    p = Sampler(**how).probabilities(LOGITS[:, shuffled])
    np.testing.assert_allclose(p / p.sum(), (np.array(wanted) / np.sum(wanted))[None, shuffled], atol=1e-12)


def test_frequencies_follow_the_probabilities():
    choose = Sampler(seed=1)
    counts = np.bincount(choose(np.repeat(LOGITS, 20_000, 0)), minlength=5) / 20_000
    np.testing.assert_allclose(counts, np.exp(LOGITS[0]), atol=0.012)  # three standard deviations of the largest


@given(
    st.lists(st.floats(-50, 50), min_size=1, max_size=30), st.integers(1, 40), st.floats(0.01, 1), st.floats(0.01, 9)
)  # fmt: skip
def test_a_drawn_token_is_one_that_may_be(logits, k, p, temperature):
    row = np.array([logits])
    chosen = Sampler(temperature, k, p, seed=0)(row)[0]
    assert 0 <= chosen < len(logits) and (row[0] > row[0, chosen]).sum() < k


def test_without_a_seed_numpys_governs():
    model = gpt(layers=1)

    def text(**how):
        np.random.seed(11)
        return [model.generate([1], 9, **how).tolist() for _ in range(2)]

    first, second = text()
    assert text() == [first, second] and first != second
    assert text(seed=4)[0] == text(seed=4)[1] != text(seed=5)[0]


def test_padding_of_texts():
    tokens, lengths = padded([[1, 2, 3], [4]])
    assert tokens.tolist() == [[1, 2, 3], [4, 0, 0]] and lengths.tolist() == [3, 1] and tokens.dtype == np.int64
