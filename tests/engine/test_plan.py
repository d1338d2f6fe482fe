"""Plans: equal to the eager model, honest about what they refuse. Their tables are kept as golden text."""

import gc
import sys
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tinytorch import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
    Softmax,
    Tensor,
    models,
)
from tinytorch.core.autograd import no_grad
from tinytorch.core.layers import Packed
from tinytorch.core.tensor import apply
from tinytorch.engine import ops
from tinytorch.engine.block_sparse import BlockSparse
from tinytorch.engine.dispatch import use_backend
from tinytorch.engine.formats import Grid, Int8
from tinytorch.engine.plan import Plan, PlanError, capture
from tinytorch.engine.verify import NMSE_BOUND, nmse
from tinytorch.perf.compression import block_prune
from tinytorch.perf.quantization import quantize
from tinytorch.perf.weighted import stored

RNG = np.random.default_rng(0)
EXAMPLES = {
    "perceptron": (2,), "xor": (2,), "mlp": (64,), "cnn": (1, 8, 8), "mlp-mnist": (784,), "cnn-cifar10": (3, 32, 32),
}  # fmt: skip


def sample(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def built(name: str) -> Sequential:
    np.random.seed(0)
    return models.MODELS[name]().eval()


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("name", models.MODELS)
def test_a_plan_answers_like_the_model(name, batch):
    def query() -> np.ndarray:
        return sample(batch, *EXAMPLES[name]) if name in EXAMPLES else RNG.integers(0, 28, (batch, 17))

    model = built(name)
    plan = capture(model.predict, query())
    for _ in range(3):
        x = query()
        assert nmse(plan(x), model.predict(x)) <= NMSE_BOUND
        assert (plan.step_by_step(x) == plan(x)).all()


def test_an_answer_is_not_overwritten_by_the_next():
    plan = capture(built("mlp").predict, sample(1, 64))
    x = sample(1, 64)
    first = plan(x)
    before = first.copy()
    plan(sample(1, 64))
    assert (first == before).all()
    assert (plan(x) == before).all()


def test_a_plan_keeps_all_it_needs_alive():
    model, x = built("cnn"), sample(1, 1, 8, 8)
    expected = model.predict(x)
    plan = capture(model.predict, x)
    del model
    gc.collect()
    assert nmse(plan(x), expected) <= NMSE_BOUND


@pytest.fixture
def hasty() -> Iterator[None]:
    """Threads take turns as often as the interpreter can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def wrong_answers(run: Callable[..., np.ndarray], queries: list[tuple[np.ndarray, ...]], times: int = 300) -> int:
    """How many answers differ from those of one thread when as many threads as queries ask at once."""
    expected, wrong = [run(*query) for query in queries], []
    together = threading.Barrier(len(queries))

    def ask(i: int) -> None:
        together.wait()
        for _ in range(times):
            if not np.array_equal(run(*queries[i]), expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(queries))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(wrong)


@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize("how", ["__call__", "step_by_step"])
def test_a_plan_answers_several_threads_at_once(hasty, how, batch):
    for model in (built("mlp"), quantized_cnn()):
        shape = EXAMPLES["cnn" if any(isinstance(layer, Conv2d) for layer in model.layers) else "mlp"]
        plan = capture(model.predict, sample(batch, *shape), threads=2)
        assert wrong_answers(getattr(plan, how), [(sample(batch, *shape),) for _ in range(4)]) == 0
        assert len(plan._idle) <= 4  # one memory for each call at the same time


def test_a_plan_of_two_inputs_answers_several_threads_at_once(hasty):
    queries = [(RNG.integers(0, 7, (5, 3)), sample(5, 3, 4)) for _ in range(4)]
    assert wrong_answers(capture(look_up, *queries[0]), queries) == 0


def test_sharing_one_memory_would_be_noticed(hasty):
    """The test above can fail: a plan whose memory is never in use gives answers to other queries."""

    class NeverInUse(Plan):
        def _idle_memory(self):
            return self._idle[0]

    model, queries = built("cnn"), [(sample(256, 1, 8, 8),) for _ in range(4)]
    plan = NeverInUse(capture(model.predict, *queries[0]).graph)
    assert not plan._question
    assert wrong_answers(plan, queries, 50) > 0


def test_an_interrupted_run_leaves_a_plan_that_works():
    plan, x = capture(built("mlp").predict, sample(1024, 64)), sample(1024, 64)
    expected, execute = plan(x), plan._execute

    def interrupted(*_: int) -> None:
        raise KeyboardInterrupt

    plan._execute = interrupted
    with pytest.raises(KeyboardInterrupt):
        plan(x)
    plan._execute = execute
    for _ in range(3):
        np.testing.assert_array_equal(plan(x), expected)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_do_not_change_a_bit(name, threads):
    model, x = built(name), sample(64, *EXAMPLES[name])
    assert (capture(model.predict, x, threads=threads)(x) == capture(model.predict, x, threads=1)(x)).all()


def test_a_net_with_everything_that_is_folded():
    np.random.seed(1)
    model = Sequential(
        Conv2d(3, 5, 3, stride=2, padding=1), BatchNorm2d(5), ReLU(), AvgPool2d(2), Conv2d(5, 7, (1, 3), bias=False),
        ReLU(), MaxPool2d(2, stride=1), Flatten(), Linear(14, 4), Softmax(),
    )  # fmt: skip
    model(Tensor(sample(8, 3, 12, 16)))  # running statistics that are not 0 and 1
    model.eval()
    x = sample(2, 3, 12, 16)
    plan = capture(model.predict, x)
    assert "batch_norm" not in str(plan) and "relu" not in str(plan)
    for _ in range(3):
        y = sample(*x.shape)
        assert nmse(plan(y), model.predict(y)) <= NMSE_BOUND


def test_without_fusion_every_op_is_a_step():
    model, x = built("cnn"), sample(1, 1, 8, 8)
    assert "relu" in str(capture(model.predict, x, rewrite=None))
    assert "relu" not in str(capture(model.predict, x))


def test_an_int8_weight_is_computed_on_integers():
    layer, x = Linear(8, 3), sample(1, 8)
    layer.weight = Packed(Int8.pack(layer.weight.data, 1, Grid.covering(-2, 2)))
    plan = capture(layer.predict, x)
    assert "product_int8" in str(plan)
    np.testing.assert_array_equal(plan(x), layer.predict(x))


def test_int8_weights_for_inputs_that_are_not_quantised_are_dequantised_once():
    layer, x = Linear(8, 3), sample(1, 8)
    layer.weight = Packed(Int8.pack(layer.weight.data, 1))
    plan = capture(layer.predict, x)
    assert "int8" not in str(plan)
    assert nmse(plan(x), layer.predict(x)) <= NMSE_BOUND


@pytest.mark.parametrize("wrong", [np.zeros((2, 64), np.float32), np.zeros((1, 64)), np.zeros(64, np.float32)])
def test_other_inputs_are_refused(wrong):
    plan = capture(built("mlp").predict, sample(1, 64))
    for call in (plan, plan.step_by_step):
        with pytest.raises(PlanError, match=r"captured for \(1, 64\) float32; capture another plan"):
            call(wrong)


@pytest.mark.parametrize("wrong", [None, [[0.0] * 64], 3.0])
def test_what_is_no_array_is_refused(wrong):
    with pytest.raises(TypeError, match=f"plan: x is a {type(wrong).__name__}; give a NumPy array"):
        capture(built("mlp").predict, sample(1, 64))(wrong)


@pytest.mark.parametrize("shape", [(0, 64), (2, 0)])
def test_nothing_is_not_captured(shape):
    with pytest.raises(PlanError, match=rf"the example is \({shape[0]}, {shape[1]}\); a plan for no elements would"):
        capture(Linear(shape[1], 3).predict, np.zeros(shape, np.float32))


def layouts_of(x: np.ndarray) -> Iterator[np.ndarray]:
    """The same values with gaps, backwards, in another order of axes, at an odd address, and not to be written to."""
    wide = np.full([2 * n for n in x.shape], np.nan, np.float32)[(..., *[slice(None, None, 2)] * x.ndim)]
    wide[...] = x
    yield wide
    yield x[..., ::-1].copy()[..., ::-1]
    yield np.asfortranarray(x)
    odd = np.frombuffer(bytearray(x.nbytes + 1), np.float32, x.size, offset=1).reshape(x.shape)
    odd[...] = x
    assert not odd.flags.aligned
    yield odd
    yield np.frombuffer(x.tobytes(), np.float32).reshape(x.shape)


@pytest.mark.parametrize("name", ["f32", "int8"])
def test_any_layout_of_the_input_is_taken(name):
    model, x = built("cnn") if name == "f32" else quantized_cnn(), sample(3, 1, 8, 8)
    plan = capture(model.predict, x)
    for other in layouts_of(x):
        np.testing.assert_array_equal(plan(other), plan(x))
    own = plan._kept[0] if plan._question else plan._idle[0]
    own.inputs[0][...] = x
    np.testing.assert_array_equal(plan(own.inputs[0]), plan(x))  # the plan's own memory as a query


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("name", ["f32", "int8"])
def test_odd_values_stay_in_their_row_and_are_those_of_the_eager_model(name, odd):
    """On integers nan is the code 0 and infinities are the ends of the grid, as eagerly."""
    model, x = built("cnn") if name == "f32" else quantized_cnn(), np.abs(sample(3, 1, 8, 8))
    plan, plain = capture(model.predict, x), x.copy()
    x[1, 0, 3, 3] = odd
    with use_backend("numpy"), np.errstate(all="ignore"):
        expected = model.predict(x)
    np.testing.assert_allclose(plan(x), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(plan(x)[[0, 2]], plan(plain)[[0, 2]])


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (5, 1, 1, 1)])
@pytest.mark.parametrize("quantised", [False, True])
def test_axes_of_size_one(shape, quantised):
    np.random.seed(0)
    model = Sequential(Conv2d(1, 1, 1), ReLU(), Conv2d(1, 1, 3, padding=1), Flatten(), Linear(1, 1)).eval()
    x = sample(*shape)
    model = quantize(model, x) if quantised else model
    np.testing.assert_allclose(capture(model.predict, x)(x), model.predict(x), rtol=1e-5, atol=1e-6)


def test_a_single_number():
    x = np.array(3, np.float32)
    plan = capture(lambda x: (Tensor(x) * Tensor(x)).data, x)
    assert plan(x) == 9 and plan(x).shape == ()


def test_nan_goes_through():
    plan = capture(built("mlp").predict, sample(1, 64))
    assert np.isnan(plan(np.full((1, 64), np.nan, np.float32))).all()


def test_an_op_without_kernel_is_named():
    with pytest.raises(PlanError, match=r"op power has no kernel; known: .*conv2d.*run the eager model"):
        capture(lambda x: (Tensor(np.full((1, 2), 2.0, np.float32)) ** Tensor(x)).data, np.ones((1, 2), np.float32))


def test_capturing_runs_the_model_once():
    layer, calls = Linear(3, 3), []

    def counted(x: np.ndarray) -> np.ndarray:
        calls.append(1)
        return layer.predict(x)

    capture(counted, sample(1, 3))
    assert calls == [1]


def test_float64_is_refused():
    with pytest.raises(PlanError, match="the example is float64, plans compute in float32 and look up int64 ids"):
        capture(built("mlp").predict, np.zeros((1, 64)))


def look_up(ids: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The middle rows of table[ids] + x: a model with two inputs."""
    with no_grad():
        found = apply(ops.embedding, Tensor(TABLE), Tensor(ids))
        return (found + Tensor(x))[1:-1].data


TABLE = sample(7, 4)


def test_several_inputs_and_ids():
    ids, x = RNG.integers(0, 7, (5, 3)), sample(5, 3, 4)
    plan = capture(look_up, ids, x)
    for _ in range(3):
        ids, x = RNG.integers(0, 7, (5, 3)), sample(5, 3, 4)
        np.testing.assert_array_equal(plan(ids, x), look_up(ids, x))
    for wrong in (7, -1):
        ids[2, 1] = wrong
        with pytest.raises(IndexError, match=rf"embedding: id {wrong} at position \(2, 1\) is outside 0..6"):
            plan(ids, x)
    with pytest.raises(PlanError, match=r"x is \(5, 3\) int64, the plan was captured for \(5, 3\) int64, \(5, 3, 4\)"):
        plan(ids)


def test_ids_that_are_computed_are_refused():
    def shifted(ids: np.ndarray) -> np.ndarray:
        with no_grad():
            return apply(ops.embedding, Tensor(TABLE), Tensor(ids)[::2]).data

    with pytest.raises(PlanError, match=r"input 1 of embedding is computed on the way, .*; make it an input"):
        capture(shifted, RNG.integers(0, 7, 4))


@pytest.mark.parametrize("integers", [False, True])
def test_blocks_are_skipped_where_that_is_quicker_and_the_table_says_so(golden_plan, integers):
    """Before a batch norm, behind a flattened image, and in a last layer of which all blocks are kept."""
    np.random.seed(0)
    model = Sequential(
        Conv2d(4, 32, 3, padding=1), BatchNorm2d(32), ReLU(), MaxPool2d(2), Flatten(), Linear(128, 64), ReLU(),
        Linear(64, 10),
    )  # fmt: skip
    model(Tensor(sample(8, 4, 4, 4)))  # running statistics that are not 0 and 1
    whole = model.layers[-1].weight
    model = block_prune(model.eval(), 0.6, "layer")
    model.layers[-1].weight = whole
    model = quantize(model, sample(16, 4, 4, 4)) if integers else model
    model.layers[-1].weight = Packed(BlockSparse.pack(stored(model.layers[-1].weight), 1))
    plan = capture(model.predict, sample(1, 4, 4, 4))
    for _ in range(3):
        x = sample(1, 4, 4, 4)
        assert nmse(plan(x), model.predict(x)) <= NMSE_BOUND
    text = str(plan)
    ops = [line for line in text.splitlines() if "product" in line]
    assert [line.count("blocks kept") for line in ops] == [1, 1, 0]
    assert "conv2d, dense: 100 % of its blocks are kept" in ops[-1]
    assert "batch_norm" not in text
    golden_plan(f"plan_blocks{'_int8' * integers}", text + "\n")


@pytest.mark.parametrize("name, model", [("mlp", built), ("cnn", built), ("cnn_int8", lambda _: quantized_cnn())])
def test_table(name, model, golden_plan):
    kind = name.removesuffix("_int8")
    golden_plan(f"plan_{name}", str(capture(model(kind).predict, np.zeros((1, *EXAMPLES[kind]), np.float32))) + "\n")


def quantized_cnn() -> Sequential:
    return quantize(built("cnn"), np.random.default_rng(0).random((16, 1, 8, 8), np.float32))


def test_the_table_counts_what_a_step_reads_several_times():
    layer = Linear(8, 4)
    text = str(capture(lambda x: layer.predict((Tensor(x) * Tensor(x)).data), sample(3, 8)))
    first, second = (line.split() for line in text.splitlines()[2:-1])
    assert first == ["0", "mul", "mul", "2", "of", "3x8", "3x8", "96", "arena", "+", "0"]
    assert second[:5] == ["1", "linear", "product", "3x8,", f"({packed_shape(8, 4)})"]  # its bias is not named


def packed_shape(k: int, n: int) -> str:
    from kernels.product import PANEL

    return f"{-(-n // PANEL)}x{k}x{PANEL}"


def test_a_small_plan_is_one_compiled_call_and_a_large_one_does_not_keep_others_waiting():
    one, many = (capture(built("mlp").predict, sample(n, 64), threads=2) for n in (1, 4096))
    assert one._question and not many._question
    x = sample(1, 64)
    np.testing.assert_array_equal(one(x), one._answer((x,)))


class Subclass(np.ndarray):
    pass


@pytest.mark.parametrize("change", [
    lambda x: np.asfortranarray(np.concatenate([x, x]))[:1], lambda x: np.concatenate([x, x], 1)[:, :64],
    lambda x: x[:, ::-1].copy()[:, ::-1], lambda x: unaligned(x), lambda x: x.view(Subclass),
    lambda x: x.astype(np.dtype(np.float32, metadata={"unit": "m"})),
])  # fmt: skip
def test_an_array_that_looks_unusual_gives_the_same_answer(change):
    """Compiled code reads the array object itself and must see what it cannot take as it lies."""
    plan, x = capture(built("mlp").predict, sample(1, 64)), sample(1, 64)
    other = change(x)
    assert (other == x).all()
    np.testing.assert_array_equal(plan(other), plan(x))


@pytest.mark.parametrize("wrong", [
    np.zeros((1, 63), np.float32), np.zeros((1, 64, 1), np.float32), np.zeros(64, np.float32), np.zeros((64, 1), "f4"),
    np.zeros((1, 64), ">f4"), np.zeros((1, 64), np.int32), np.zeros((1, 64)), np.float32(1), np.zeros((0, 64), "f4"),
])  # fmt: skip
def test_what_a_compiled_call_cannot_take_is_refused_or_converted_as_before(wrong):
    plan = capture(built("mlp").predict, sample(1, 64))
    with pytest.raises(PlanError, match="captured for"):
        plan(wrong)


def unaligned(x: np.ndarray) -> np.ndarray:
    raw = np.zeros(x.nbytes + 1, np.uint8)
    y = raw[1:].view(x.dtype).reshape(x.shape)
    y[...] = x
    assert not y.flags.aligned
    return y
