"""EMA: what is averaged, when, and that a model gets its own weights back. PyTorch's is in tests/oracle."""

from __future__ import annotations

import numpy as np
import pytest

from tinytorch import EMA, SGD, BatchNorm2d, CrossEntropyLoss, Linear, ReLU, Sequential, Tensor, Trainer, compile_step
from tinytorch.perf.quantization import quantize

pytestmark = pytest.mark.usefixtures("backend")
RNG = np.random.default_rng(0)


def net() -> Sequential:
    np.random.seed(0)
    return Sequential(Linear(4, 8), ReLU(), Linear(8, 3))


def steps(ema, model, values):
    """Weights that are these numbers, one after another."""
    for value in values:
        for p in model.parameters():
            p.data[...] = value
        ema.update()
    return next(iter(ema.average.values())).ravel()[0]


def test_by_hand():
    """The first step is copied; then half of what was, half of what is."""
    model = net()
    assert steps(EMA(model, 0.5), model, [8.0]) == 8
    assert steps(EMA(model, 0.5), model, [8.0, 4.0]) == 6
    assert steps(EMA(model, 0.5), model, [8.0, 4.0, 2.0]) == 4
    assert steps(EMA(model, 0.0), model, [8.0, 4.0, 2.0]) == 2


def test_every_second_step():
    model = net()
    ema = EMA(model, 0.5, every=2)
    start = ema.state_dict()["average"]
    steps(ema, model, [8.0])
    np.testing.assert_equal(ema.state_dict()["average"], start)
    assert steps(ema, model, [4.0, 100.0, 2.0]) == 3 and ema.calls == 4


def test_warm_up_is_the_mean_of_all_steps():
    model = net()
    assert steps(EMA(model, 0.9, warmup=True), model, [8.0, 4.0, 6.0]) == pytest.approx(6)
    assert steps(EMA(model, 0.5, warmup=True), model, [8.0, 4.0, 2.0]) == pytest.approx(4)  # no longer than 0.5 allows


def test_buffers_are_averaged_too():
    model = Sequential(BatchNorm2d(2))
    ema = EMA(model, 0.5)
    for mean in (8.0, 4.0):
        model[0].running_mean[...] = mean
        ema.update()
    with ema.applied():
        np.testing.assert_array_equal(model[0].running_mean, [6, 6])
    np.testing.assert_array_equal(model[0].running_mean, [4, 4])


def test_applied_gives_the_average_and_takes_it_back_whatever_happens():
    model = net()
    arrays, ema = [p.data for p in model.parameters()], EMA(model, 0.5)
    steps(ema, model, [8.0, 4.0])
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), ema.applied():
            assert all((p.data == 6).all() for p in model.parameters())
            raise error
        assert all((p.data == 4).all() and p.data is a for p, a in zip(model.parameters(), arrays))
    with ema.applied(), pytest.raises(RuntimeError, match=r"update.. inside `with ema.applied..` would av"):
        ema.update()
    with ema.applied(), pytest.raises(RuntimeError, match="the average is applied already; leave the block first"):
        ema.applied().__enter__()
    assert all((p.data == 4).all() for p in model.parameters()) and not ema.is_applied


def test_a_failure_while_weights_are_exchanged_leaves_the_model_as_it_was():
    model = net()
    ema, before = EMA(model, 0.5), model.state_dict()
    steps(ema, model, [8.0])
    model.load_state_dict(before)
    del ema.average["2.bias"]  # the last one
    with pytest.raises(KeyError), ema.applied():
        pass
    np.testing.assert_equal(model.state_dict(), before)


def test_the_trainer_averages_after_each_step():
    model = net()
    ema = EMA(model, 0.5)
    trainer = Trainer(model, SGD(model.parameters(), lr=0.1), CrossEntropyLoss(), ema=ema)
    x, y = Tensor(RNG.standard_normal((6, 4)).astype(np.float32)), Tensor(RNG.integers(0, 3, 6))
    trainer.train_epoch([(x, y)])
    first = model.state_dict()
    trainer.train_step(x, y)
    second = model.state_dict()
    trainer.train_epoch([(x, y), (x, y)], accumulation_steps=2)
    assert ema.calls == trainer.step == 3
    for name, third in model.state_dict().items():
        expected = (first[name] + second[name]) / 4 + third / 2
        np.testing.assert_allclose(ema.average[name], expected, rtol=1e-5, atol=1e-7)


def test_a_captured_step_and_the_average_do_not_disturb_each_other():
    x, y = RNG.standard_normal((6, 4)).astype(np.float32), RNG.integers(0, 3, 6)
    averages = []
    for captured in (False, True):
        model = net()
        optimizer, ema = SGD(model.parameters(), lr=0.1, momentum=0.9), EMA(model, 0.8)
        step = compile_step(model, optimizer, CrossEntropyLoss(), x, y) if captured else None
        trainer = Trainer(model, optimizer, CrossEntropyLoss(), captured=step, ema=ema)
        for _ in range(5):
            trainer.train_step(Tensor(x), Tensor(y))
            with ema.applied():
                trainer.evaluate([(Tensor(x), Tensor(y))])
        averages.append({**ema.average, **{f"model.{name}": w for name, w in model.state_dict().items()}})
    for name, eager in averages[0].items():
        # NumPy's products round otherwise than the kernels that a captured step always runs
        np.testing.assert_allclose(averages[1][name], eager, rtol=1e-4, atol=1e-6, err_msg=name)


def test_state_in_and_out():
    model, other = net(), net()
    ema, again = EMA(model, 0.5), EMA(other, 0.5)
    steps(ema, model, [8.0, 4.0])
    state = ema.state_dict()
    again.load_state_dict(state)
    state["average"]["0.weight"][...] = 0  # it was a copy
    assert steps(again, other, [2.0]) == steps(ema, model, [2.0]) == 4


def test_a_wrong_state_changes_nothing():
    model = net()
    ema = EMA(model, 0.5)
    before = ema.state_dict()
    short = {name: value[:1] if name == "2.bias" else value + 1 for name, value in before["average"].items()}
    with pytest.raises(ValueError, match=r"2.bias is \(1,\) in the average, \(3,\) in the model; load the average of"):
        ema.load_state_dict({"calls": 3, "average": short})
    with pytest.raises(KeyError, match=r"the average has .*'x'.*, the model .*; load the average of the same model"):
        ema.load_state_dict({"calls": 3, "average": {"x": np.zeros(1)}})
    np.testing.assert_equal(ema.state_dict(), before)


@pytest.mark.parametrize("wrong, says", [
    ({"decay": 1.0}, "EMA: decay is 1.0; choose it from 0 up to, not including, 1"),
    ({"every": 0}, "EMA: every is 0; choose at least 1"),
])  # fmt: skip
def test_impossible_settings(wrong, says):
    with pytest.raises(ValueError, match=says):
        EMA(net(), **wrong)


def test_other_models_are_refused():
    model = net()
    with pytest.raises(ValueError, match="ema averages another model than the one that is trained"):
        Trainer(model, SGD(model.parameters()), CrossEntropyLoss(), ema=EMA(net()))
    with pytest.raises(ValueError, match=r"EMA: \['0.weight', '2.weight'\] are packed weights"):
        EMA(quantize(model, RNG.standard_normal((8, 4)).astype(np.float32)))
