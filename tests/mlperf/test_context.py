"""What an entry is given to work with: stages that compose, and things kept that come back as they were."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mlperf import tasks
from mlperf.entries.context import DTYPES, Context, Kept, Optimised
from mlperf.entries.source import EntryError
from tinytorch.core.activations import ReLU
from tinytorch.core.layers import Linear, Sequential
from tinytorch.core.tensor import Tensor


@pytest.fixture(scope="module")
def task():
    return tasks.find("mlp")


def context(task, folder, building=True):
    x, y = task.data.x_train, task.data.y_train
    example = task.answering.queries(x[:1])[0]
    kept = Kept(folder, building)
    return Context(x, y, example, task.answering, task.lessons, task.batches, task.loss, kept=kept)


anything = st.sampled_from(DTYPES).flatmap(
    lambda dtype: arrays.arrays(np.dtype(dtype), arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)
keys = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,9}", fullmatch=True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=st.one_of(anything, st.dictionaries(keys, anything, min_size=1, max_size=3)))
def test_what_is_kept_comes_back_as_it_was_at_once_and_later(made, task, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    at_once = context(task, folder).once("some", lambda: made)
    later = context(task, folder, building=False).once("some", lambda: pytest.fail("made again"))
    for found in (at_once, later):
        assert type(found) is type(made)
        one, other = (x if isinstance(x, dict) else {"": x} for x in (made, found))
        assert one.keys() == other.keys()
        for key in one:
            assert (one[key].dtype, one[key].shape) == (other[key].dtype, other[key].shape)
            np.testing.assert_array_equal(one[key], other[key])


def test_memory_order_and_byte_order_are_no_part_of_what_is_kept(task, tmp_path):
    made = np.arange(6, dtype=">f4").reshape(2, 3).T
    found = context(task, tmp_path).once("turned", lambda: made)
    assert found.flags.c_contiguous and found.dtype == np.float32
    np.testing.assert_array_equal(found, made)
    tensors = context(task, tmp_path).once("tensor", lambda: {"w": Tensor(np.ones(2, np.float32))})
    assert type(tensors["w"]) is np.ndarray


@pytest.mark.parametrize(
    ("made", "text"),
    [
        ([1, 2], "`make` gave list for 'mine'; an array or a dict of arrays can be kept, a network by `taught`"),
        (None, "`make` gave NoneType for 'mine'"),
        ({}, "`make` gave dict for 'mine'"),
        (Linear(2, 2), "`make` gave Linear for 'mine'.*a network by `taught`"),
        (np.array(["a"]), "'mine' has <U1 as it; arrays of these can be kept: bool, int8"),
        (np.array([None]), "'mine' has object as it"),
        (np.zeros(2, complex), "'mine' has complex128 as it"),
        ({"a": 1.5}, "'mine' has float as a; arrays"),
        ({"../a": np.zeros(1)}, "'mine' has '../a' as a key; use letters, digits, dots, - and _"),
        ({1: np.zeros(1)}, "'mine' has 1 as a key"),
    ],
)
def test_what_cannot_be_kept(task, tmp_path, made, text):
    with pytest.raises(EntryError, match=text):
        context(task, tmp_path).once("mine", lambda: made)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a.b", "-a", "x" * 61, "a\n"])
def test_names_are_plain(task, tmp_path, name):
    with pytest.raises(EntryError, match="is no name to keep something by; use letters, digits, - and _"):
        context(task, tmp_path).once(name, lambda: np.zeros(1))
    assert not list(tmp_path.iterdir())


def test_a_name_is_used_once_and_known_later(task, tmp_path):
    one = context(task, tmp_path)
    one.once("mine", lambda: np.zeros(1))
    with pytest.raises(EntryError, match="two things are kept as 'mine'; give each a name of its own"):
        one.once("mine", lambda: np.zeros(1))
    with pytest.raises(EntryError, match="nothing was kept as 'other' when the entry was built; `optimize` must ask"):
        context(task, tmp_path, building=False).once("other", lambda: np.zeros(1))


def test_a_network_is_taught_once(task, tmp_path):
    def net():
        return Sequential(Linear(64, 8), ReLU(), Linear(8, 10))

    def teach(network):
        network.layers[0].weight.data[...] = 7

    untouched = net()
    at_once = context(task, tmp_path).taught("mine", untouched, teach)
    assert (at_once.layers[0].weight.data == 7).all() and not (untouched.layers[0].weight.data == 7).any()
    later = context(task, tmp_path, building=False).taught("mine", net(), lambda _: pytest.fail("taught again"))
    for one, other in zip(at_once.parameters(), later.parameters(), strict=True):
        np.testing.assert_array_equal(one.data, other.data)


def test_stages_compose_in_any_order_and_show_their_network(task, tmp_path):
    model, given = task.reference(), context(task, tmp_path)
    right = model.predict(task.data.x_train[:200]).argmax(1)
    shown = {
        "eager": given.eager(model),
        "int8": given.accelerate(given.quantize(model, samples=64)),
        "pruned": given.cache(given.prune(given.quantize(model), method="magnitude", amount=0.2)),
        "plan": given.accelerate(model),
    }
    for name, made in shown.items():
        assert type(made) is Optimised, name
        answers = np.concatenate([made(x) for x in task.answering.queries(task.data.x_train[:200])])
        assert answers.shape == (200, 10) and (answers.argmax(1) == right).mean() > 0.97, name
        np.testing.assert_array_equal(made.run(given.example), made(given.example))
    assert shown["int8"].model.layers[0].weight.format.kind == "int8" and "plan" in shown["int8"].note
    assert shown["plan"].model.layers[0].weight.data is not None


def test_further_training_of_prune_is_kept_by_itself(task, tmp_path):
    def made(building):
        return context(task, tmp_path, building).prune(
            task.reference(), method="channels", amount=0.5, finetune_epochs=1
        )

    one = made(building=True)
    (file,) = tmp_path.iterdir()
    time = file.stat().st_mtime_ns
    other = made(building=False)
    assert file.name == "trained-0.safetensors" and file.stat().st_mtime_ns == time
    for first, second in zip(one.model.parameters(), other.model.parameters(), strict=True):
        np.testing.assert_array_equal(first.data, second.data)
