"""Plans that generate text: what they refuse, what their steps are, integers, threads, and faults that are noticed."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tinytorch import GPT, Decoder, Tensor
from tinytorch.engine import dispatch
from tinytorch.engine.op import OPS
from tinytorch.engine.plan import PlanError
from tinytorch.perf.quantization import quantize

CAPACITY = 16


def gpt(layers=2, positions="learned"):
    np.random.seed(7)
    model = GPT(23, 24, layers, 3, CAPACITY, positions=positions)
    for p in model.parameters():
        p.data[...] += np.random.normal(0, 0.3, p.shape)
    return model.eval()


def ids(*shape):
    return np.random.default_rng(3).integers(0, 23, shape)


def test_the_steps_of_a_token_are_golden(golden_plan):
    golden_plan("decoder", str(Decoder(gpt(layers=1))) + "\n")


def test_prompts_share_a_plan_up_to_a_power_of_two():
    decoder = Decoder(gpt())
    for length in (1, 2, 3, 4, 5, 13, 16, 9):
        decoder.prefill(ids(1, length))
    assert sorted(decoder._prefill_plans) == [1, 2, 4, 8, 16]


def test_a_new_prompt_sees_nothing_of_the_one_before():
    decoder, fresh = Decoder(gpt()), Decoder(gpt())
    decoder.prefill(ids(1, 16))
    for reader in (decoder, fresh):
        reader.prefill(ids(1, 3))
    for token in (5, 9, 2):
        np.testing.assert_array_equal(decoder.decode([token]), fresh.decode([token]))


def test_going_back_is_as_if_nothing_had_followed():
    decoder, fresh = Decoder(gpt()), Decoder(gpt())
    text = ids(1, 6)
    decoder.prefill(text)
    for token in range(CAPACITY - 6):
        decoder.decode([token])
    decoder.rewind(4)
    fresh.prefill(text, np.array([4]))  # by the same plan, so that bits are comparable
    for token in range(CAPACITY - 4):
        np.testing.assert_array_equal(decoder.decode([token]), fresh.decode([token]))
    for count in (-1, 17):
        with pytest.raises(ValueError, match=f"cannot go back to {count} tokens: choose from 0 to the 16 of the short"):
            decoder.rewind(count)


def test_bad_calls_change_nothing():
    decoder, model = Decoder(gpt(), batch=2), gpt()
    decoder.prefill(ids(2, 15))
    with pytest.raises(ValueError, match=r"Decoder: tokens are \(1,\): they must be \(2,\); make a decoder for this"):
        decoder.decode([1])
    with pytest.raises(ValueError, match=r"Decoder: tokens are \(3, 4\): they must be \(2, positions\)"):
        decoder.prefill(ids(3, 4))
    with pytest.raises(ValueError, match="a prompt of 17 tokens does not fit the 16 positions of the model; cut it"):
        decoder.prefill(ids(2, 17))
    with pytest.raises(IndexError, match=r"id 23 at position \(1, 0\) is outside 0..22; the vocabulary size is 23"):
        decoder.decode([1, 23])
    whole = np.concatenate([ids(2, 15), [[4], [7]]], 1)
    assert np.abs(decoder.decode(Tensor(np.array([4, 7]))) - model(whole).data[:, -1]).max() <= 1e-4
    with pytest.raises(ValueError, match="it holds 16 tokens and has room for 16: 1 more do not fit"):
        decoder.decode([1, 1])
    for lengths in ([0, 3], [3, 5], [3]):  # a text without tokens would be given what follows its neighbour
        with pytest.raises(ValueError, match=r"Decoder: lengths are .*: there must be 2, each from 1 to the 4 tokens"):
            decoder.prefill(ids(2, 4), np.array(lengths))
    with pytest.raises(ValueError, match="Decoder: batch is 0; give at least 1"):
        Decoder(model, batch=0)


@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_int8_is_computed_on_integers_and_equals_the_eager_run(positions):
    model = quantize(gpt(positions=positions), ids(8, CAPACITY))
    decoder, tokens = Decoder(model), ids(1, CAPACITY)
    assert str(decoder).count("product_int8") == 2 * 6 + 1
    logits, cached = decoder.prefill(tokens[:, :5]), model.new_cache()
    full = model(tokens[:, :5], cached).data[:, -1]
    for at in range(5, CAPACITY):
        assert np.abs(logits - full).max() <= 1e-2 * np.abs(full).max()  # a last-bit difference may be another code
        logits, full = decoder.decode(tokens[:, at]), model(tokens[:, at : at + 1], cached).data[:, -1]


def test_the_bits_are_the_same_for_any_number_of_threads():
    model, tokens = gpt(), ids(3, CAPACITY)
    found = []
    for threads in (1, 2):
        decoder = Decoder(model, 3, threads)
        found.append([decoder.prefill(tokens[:, :9]), *(decoder.decode(tokens[:, at]) for at in range(9, 16))])
    for one, two in zip(*found):
        np.testing.assert_array_equal(one, two)


def test_a_second_thread_is_refused():
    decoder = Decoder(gpt())
    decoder.prefill(ids(1, 3))
    linked = decoder.decode_plan.linked
    running, done, run = threading.Event(), threading.Event(), linked.run

    def slow():
        running.set()
        done.wait(10)
        run()

    linked.run = slow
    first = threading.Thread(target=decoder.decode, args=([1],))
    first.start()
    assert running.wait(10)
    with pytest.raises(PlanError, match="running in another thread, and both would write to one state; give each thr"):
        decoder.decode([1])
    done.set()
    first.join()
    assert decoder.cache.seq_pos == 4


@pytest.mark.parametrize("op", ["cached_attention", "cache_write", "layer_norm"])
def test_a_plan_that_computes_another_thing_is_not_made(op, monkeypatch):
    """What is captured comes from the reference: one that says something else is a kernel that does."""
    reference = OPS[op].reference

    def other(x, *arrays, **params):
        out = reference(x, *arrays, **params)
        out[...] *= 1.001
        return out

    monkeypatch.setattr(OPS[op], "reference", other)
    monkeypatch.setattr(dispatch, "_cache", {})  # it remembers references, too
    with pytest.raises(PlanError, match="capture: plan and eager run differ by"):
        Decoder(gpt()).decode_plan  # noqa: B018
