"""Checkpoints: what they hold, what they refuse, and that a refused one changes nothing. Killed runs: test_resuming."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy

from tinytorch import (
    EMA,
    SGD,
    Adam,
    BatchNorm2d,
    Conv2d,
    CosineSchedule,
    CrossEntropyLoss,
    DataLoader,
    Dropout,
    Flatten,
    Linear,
    ReLU,
    Sequential,
    Tensor,
    TensorDataset,
    Trainer,
    compile_step,
    datasets,
)
from tinytorch.core import checkpoints
from tinytorch.weights import WeightsError

pytestmark = pytest.mark.usefixtures("backend")
RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((24, 4)).astype(np.float32), RNG.integers(0, 3, 24)


def net(seed=0):
    np.random.seed(seed)
    return Sequential(Linear(4, 8), ReLU(), Dropout(0.2, seed=seed), Dropout(0.1), Linear(8, 3))


def batches(seed=1):
    return DataLoader(TensorDataset(X, Y), 8, shuffle=True, seed=seed)


def everything(trainer):
    parts = [trainer.model, trainer.optimizer, *([trainer.ema] if trainer.ema else [])]
    random = np.random.get_state(legacy=False), trainer.model[2].rng.bit_generator.state
    progress = trainer.epoch, trainer.step, trainer.history
    return copy.deepcopy([part.state_dict() for part in parts]), random, copy.deepcopy(progress)


def assert_unchanged(trainer, before):
    np.testing.assert_equal(everything(trainer), before)


# -- going on ---------------------------------------------------------------------------------------------------------


def image_trainer(seed, captured=False, ema=None):
    """Batch norm, dropout from both generators, a schedule by steps, clipping."""
    np.random.seed(seed)
    model = Sequential(
        Conv2d(1, 4, 3, padding=1), BatchNorm2d(4), ReLU(), Flatten(), Dropout(0.2), Dropout(0.1, seed=seed),
        Linear(256, 10),
    )  # fmt: skip
    optimizer, loss_fn = Adam(model.parameters(), lr=0.01), CrossEntropyLoss()
    data = datasets.load("digits-images")
    x, y = data.x_train[:80], data.y_train[:80]  # batches of 32, 32 and 16
    step = compile_step(model, optimizer, loss_fn, x[:32], y[:32], grad_clip_norm=1.0) if captured else None
    trainer = Trainer(
        model, optimizer, loss_fn, CosineSchedule(0.01, 0.001, 12), 1.0, step, schedule_by="step",
        ema=None if ema is None else EMA(model, ema),
    )  # fmt: skip
    return trainer, DataLoader(TensorDataset(x, y), 32, shuffle=True, seed=seed)


@pytest.mark.parametrize("captured", [False, True])
@pytest.mark.parametrize("ema", [None, 0.8])
def test_a_checkpoint_goes_on_bit_by_bit(tmp_path, captured, ema):
    straight, loader = image_trainer(0, captured, ema)
    straight.fit(loader, 4)
    last = np.random.random()
    halted, loader = image_trainer(0, captured, ema)
    halted.fit(loader, 2, checkpoint=tmp_path / "c")
    resumed, loader = image_trainer(9, captured, ema)
    resumed.fit(loader, 4, checkpoint=tmp_path / "c", resume=True)
    assert np.random.random() == last  # nobody drew more or less
    states = [
        {**t.model.state_dict(), **t.optimizer.state_dict(), **({"ema": ema.state_dict()} if (ema := t.ema) else {})}
        for t in (straight, resumed)
    ]
    np.testing.assert_equal(*states)
    assert resumed.history == straight.history
    assert (resumed.epoch, resumed.step) == (straight.epoch, straight.step) == (4, 12)


def test_fit_does_what_is_left_and_tells_who_wants_to_know(tmp_path):
    model = net()
    trainer = Trainer(model, SGD(model.parameters()), CrossEntropyLoss())
    epochs, rows = [], []

    def after_epoch(trainer):
        epochs.append(trainer.epoch)
        trainer.evaluate(batches())

    for until in (2, 3, 3, 1):  # what is done is not done again
        trainer.fit(batches(), until, checkpoint=tmp_path / "new" / "c", after_epoch=after_epoch,
                    watch=lambda n, loss: rows.append(n))  # fmt: skip
    assert epochs == [1, 2, 3] and sum(rows) == 3 * 24 and len(trainer.history["eval_loss"]) == 3
    again = Trainer(model, SGD(model.parameters()), CrossEntropyLoss())
    again.load_checkpoint(tmp_path / "new" / "c", batches())
    assert again.history == trainer.history  # what the callback found is in the checkpoint
    again.fit(batches(), 1, checkpoint=tmp_path / "none", resume=True)
    assert not (tmp_path / "none").exists()  # nothing was left to do
    with pytest.raises(ValueError, match=r"Trainer.fit: resume needs to know from where; give it checkpoint, the path"):
        trainer.fit(batches(), 9, resume=True)


def test_without_resume_training_begins_again(tmp_path):
    first, second = (Trainer(m, SGD(m.parameters()), CrossEntropyLoss()) for m in (net(), net()))
    first.fit(batches(), 2, checkpoint=tmp_path / "c")
    second.fit(batches(), 1, checkpoint=tmp_path / "c")
    third = Trainer(first.model, first.optimizer, CrossEntropyLoss())
    third.load_checkpoint(tmp_path / "c", batches())
    assert third.epoch == 1


def test_a_history_may_have_more_lists(tmp_path):
    trainer = Trainer(model := net(), SGD(model.parameters()), CrossEntropyLoss())
    trainer.history["accuracy"] = [np.float32(0.5), 1]
    trainer.save_checkpoint(tmp_path / "c")
    again = Trainer(model, SGD(model.parameters()), CrossEntropyLoss())
    again.load_checkpoint(tmp_path / "c")
    assert again.history["accuracy"] == [0.5, 1.0]
    again.history["seconds"] = []
    with pytest.raises(WeightsError, match="its history has no seconds"):
        again.load_checkpoint(tmp_path / "c")


def test_a_checkpoint_from_before_the_first_step_and_a_captured_step(tmp_path):
    """It has no moments; a captured step goes on with zeros."""
    model = net()
    Trainer(model, Adam(model.parameters()), CrossEntropyLoss()).save_checkpoint(tmp_path / "c")
    optimizer = Adam(model.parameters())
    step = compile_step(model, optimizer, CrossEntropyLoss(), X[:8], Y[:8])
    trainer = Trainer(model, optimizer, CrossEntropyLoss(), captured=step)
    loss = trainer.train_step(Tensor(X[:8]), Tensor(Y[:8]))
    after = optimizer.state_dict()["moments"]
    trainer.load_checkpoint(tmp_path / "c")
    assert not any(m.any() for of_one in optimizer.moments for m in of_one.values())
    assert trainer.train_step(Tensor(X[:8]), Tensor(Y[:8])) == loss
    np.testing.assert_equal(optimizer.state_dict()["moments"], after)


def test_numbers_without_a_shape_keep_it(tmp_path):
    class Scaled(Sequential):
        def __init__(self):
            super().__init__(Linear(4, 3))
            self.scale = Tensor(np.float32(2), requires_grad=True)

    model = Scaled()
    trainer = Trainer(model, SGD(model.parameters()), CrossEntropyLoss())
    trainer.save_checkpoint(tmp_path / "c")
    model.scale.data[...] = 7
    trainer.load_checkpoint(tmp_path / "c")
    assert model.scale.shape == () and model.scale.item() == 2


arrays = of_numpy.arrays(
    st.sampled_from([np.float32, np.float64, np.int64, np.uint32, np.uint8, np.bool_]),
    of_numpy.array_shapes(min_dims=0, min_side=0, max_side=3),
)
leaves = st.one_of(st.none(), st.booleans(), st.integers(-(2**200), 2**200), st.floats(), st.text(), arrays)
states = st.dictionaries(
    st.text(), st.recursive(leaves, lambda s: st.lists(s, max_size=3) | st.dictionaries(st.text(), s, max_size=3))
)


class Kept:
    """A part whose state is whatever it is."""

    def __init__(self, state=None):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


@given(states)
def test_any_state_comes_back_bit_by_bit(tmp_path_factory, state):
    path = tmp_path_factory.getbasetemp() / "any"
    checkpoints.save(path, {"part": Kept(state)})
    again = Kept()
    checkpoints.load(path, {"part": again})
    np.testing.assert_equal(again.state, state)
    assert described(again.state) == described(state)


def test_names_with_dots_are_not_confused(tmp_path):
    state = {"a.b": np.zeros(1), "a": {"b": np.ones(2), "b_": np.full(3, 2)}}
    checkpoints.save(tmp_path / "c", {"part": Kept(state)})
    again = Kept()
    checkpoints.load(tmp_path / "c", {"part": again})
    assert described(again.state) == described(state)


def described(state):
    """The types and shapes in a state, which equality forgives."""
    if isinstance(state, dict):
        return {key: described(value) for key, value in state.items()}
    if isinstance(state, list):
        return [described(value) for value in state]
    return (state.dtype, state.shape, state.tobytes()) if isinstance(state, np.ndarray) else (type(state), repr(state))


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(backend, tmp_path_factory):
    """A small trainer after an epoch, and its checkpoint."""
    model = net()
    trainer = Trainer(model, Adam(model.parameters(), lr=0.01), CrossEntropyLoss())
    trainer.train_epoch(batches())
    path = tmp_path_factory.mktemp("checkpoint") / "c.safetensors"
    trainer.save_checkpoint(path)
    return trainer, path


def test_a_truncated_checkpoint_changes_nothing(trained, tmp_path):
    trainer, good = trained
    content, before, bad = good.read_bytes(), everything(trainer), tmp_path / "bad.safetensors"
    for length in [0, 1, 7, 8, 9, *range(10, len(content), len(content) // 40), len(content) - 1]:
        bad.write_bytes(content[:length])
        with pytest.raises(WeightsError, match=r"bad.safetensors: not a checkpoint of this model \(.*\); save it"):
            trainer.load_checkpoint(bad)
    assert_unchanged(trainer, before)


def test_a_single_wrong_bit_is_refused_wherever_it_is(trained, tmp_path):
    """Half of them in the description of the arrays, half in the numbers."""
    trainer, good = trained
    content, before, bad = good.read_bytes(), everything(trainer), tmp_path / "bad.safetensors"
    header = 8 + int.from_bytes(content[:8], "little")
    rng = np.random.default_rng(0)
    for first, end in ((0, header), (header, len(content))):
        for _ in range(200):
            at, bit = int(rng.integers(first, end)), int(rng.integers(0, 8))
            bad.write_bytes(content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :])
            try:
                trainer.load_checkpoint(bad)
            except WeightsError:
                pass
            else:  # only where JSON says the same in other words, such as a blank at the end that became another
                assert at < header
            assert_unchanged(trainer, before)


def old_file(trainer, path, **changes):
    """A checkpoint as it was written before random states were kept, some of it changed."""
    from safetensors.numpy import save_file

    optimizer = trainer.optimizer.state_dict()
    arrays = {f"model.{k}": v for k, v in trainer.model.state_dict().items()}
    arrays |= {f"moment.{k}": v for k, v in optimizer["moments"].items()}
    progress = {
        "epoch": trainer.epoch, "step": trainer.step, "history": trainer.history,
        "lr": optimizer["lr"], "step_count": optimizer["step_count"], **changes,
    }  # fmt: skip
    save_file(arrays, path, {"trainer": json.dumps(progress)})


def test_an_old_file_still_loads(trained, tmp_path):
    trainer, _ = trained
    old_file(trainer, tmp_path / "old")
    before = everything(trainer)
    trainer.train_epoch(batches())
    random = everything(trainer)[1]
    trainer.load_checkpoint(tmp_path / "old")
    assert_unchanged(trainer, (before[0], random, before[2]))  # random states are not in it and stay
    with pytest.raises(WeightsError, match=r"it has the states of model, optimizer, progress; wanted are loader"):
        trainer.load_checkpoint(tmp_path / "old", batches())
    trainer.load_checkpoint(trained[1])


@pytest.mark.parametrize("change", ["epoch", "history", "lr", "step_count"])
def test_progress_that_makes_no_sense_changes_nothing(trained, tmp_path, change):
    trainer, _ = trained
    old_file(trainer, tmp_path / "odd", **{change: {"not": "this"}})
    before = everything(trainer)
    with pytest.raises(WeightsError, match="not a checkpoint of this model"):
        trainer.load_checkpoint(tmp_path / "odd")
    assert_unchanged(trainer, before)


@pytest.mark.parametrize("metadata, says", [
    (None, "'trainer'"), ({"other": "{}"}, "'trainer'"), ({"trainer": "[]"}, "not a checkpoint of this model"),
    ({"trainer": '{"version": 99}'}, "it has version 99, known are 1 to 2: it was saved by a later program"),
    ({"trainer": '{"version": 2}'}, "its digest is wrong, so it was damaged after it was written"),
])  # fmt: skip
def test_other_files_change_nothing(trained, tmp_path, metadata, says):
    from safetensors.numpy import save_file

    trainer, _ = trained
    save_file(trainer.model.state_dict(), tmp_path / "odd", metadata)
    before = everything(trainer)
    with pytest.raises(WeightsError, match=says):
        trainer.load_checkpoint(tmp_path / "odd")
    assert_unchanged(trainer, before)


def test_a_checkpoint_of_another_model_or_optimizer_changes_nothing(trained):
    _, good = trained
    wide, sgd, unseeded = net(), net(), net()
    wide.layers[0], wide.layers[4], unseeded.layers[2].rng = Linear(4, 9), Linear(9, 3), None
    for model, make, says in (
        (wide, Adam, r"0.weight is \(4, 8\) in the state, \(4, 9\) in the model"),
        (sgd, lambda p: SGD(p, momentum=0.9), "SGD has no moment 'm'"),
        (unseeded, Adam, r"generators of \['2.rng'\] in the file, of \[\] in the model"),
    ):
        trainer = Trainer(model, make(model.parameters()), CrossEntropyLoss())
        trainer.train_epoch(batches())  # so that there is something to be lost
        state = copy.deepcopy((model.state_dict(), trainer.optimizer.state_dict(), trainer.history))
        with pytest.raises(WeightsError, match=f"not a checkpoint of this model .*{says}"):
            trainer.load_checkpoint(good)
        np.testing.assert_equal((model.state_dict(), trainer.optimizer.state_dict(), trainer.history), state)


def test_what_was_there_when_it_was_saved_must_be_there_again(trained, tmp_path):
    """An average or an order of the data that is forgotten, or made up, would be another training."""
    trainer, good = trained
    with_ema = Trainer(model := net(), Adam(model.parameters()), CrossEntropyLoss(), ema=EMA(model))
    before = everything(with_ema)
    with pytest.raises(WeightsError, match=r"wanted are average, model.*: give Trainer an ema, and load_chec"):
        with_ema.load_checkpoint(good)
    assert_unchanged(with_ema, before)
    trainer.save_checkpoint(tmp_path / "c", batches())
    with pytest.raises(WeightsError, match=r"states of loader, .*; wanted are model"):
        trainer.load_checkpoint(tmp_path / "c")


def test_what_cannot_be_saved_is_refused(tmp_path):
    model = net()
    ema = EMA(model)
    trainer = Trainer(model, SGD(model.parameters()), CrossEntropyLoss(), ema=ema)
    with (
        ema.applied(),
        pytest.raises(RuntimeError, match="the model has the averaged weights, not its own"),
    ):
        trainer.save_checkpoint(tmp_path / "c")
    with pytest.raises(TypeError, match="loader is a generator, of which nobody knows where it stands; give"):
        trainer.save_checkpoint(tmp_path / "c", ((Tensor(X), Tensor(Y)) for _ in range(3)))
    extra = Tensor([1.0], requires_grad=True)
    trainer = Trainer(model, SGD([*model.parameters(), extra]), CrossEntropyLoss())
    with pytest.raises(ValueError, match="the optimizer trains parameters that are not the model's and would be lost"):
        trainer.save_checkpoint(tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_checkpoint_says_so(trained, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none: there is no such checkpoint; Trainer.save_check"):
        trained[0].load_checkpoint(tmp_path / "none")
