"""Batches made ahead by a thread: the same numbers, errors that surface, and a thread that never outlives its use."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels.threads import exactly
from tinytorch import (
    SGD,
    CrossEntropyLoss,
    DataLoader,
    Dataset,
    ImageDataset,
    ImageTransform,
    RandomCrop,
    TensorDataset,
    compile_step,
    models,
)
from tinytorch.core.prefetching import prefetched

RNG = np.random.default_rng(2)
IMAGES, LABELS = RNG.integers(0, 256, (50, 3, 8, 8)).astype(np.uint8), RNG.integers(0, 10, 50)
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
TIMEOUT_S = 300  # a process that hangs is meant, not one that compiles on a busy machine


def workers():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    gc.collect()  # a traceback that pytest has shown may have kept an iteration
    assert not workers()


def loader(**how):
    transform = ImageTransform(MEAN, STD, padding=2, flip="alternate", cutout=3, seed=1)
    return DataLoader(ImageDataset(IMAGES, LABELS), 8, True, seed=3, transform=transform, **how)


def same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        for a, b in zip(batch, other, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a.data, b.data)


def test_the_same_numbers_with_and_without():
    without, ahead = loader(), loader(prefetch=True)
    for _ in range(3):
        same(without, ahead)
    data = TensorDataset(IMAGES.astype(np.float32), LABELS)
    same(*(
        DataLoader(data, 7, True, seed=3, transform=RandomCrop(8, padding=1, seed=4), prefetch=prefetch)
        for prefetch in (True, False)
    ))  # fmt: skip


@given(st.lists(st.integers(0, 7), min_size=1, max_size=4))
def test_the_same_numbers_after_iterations_that_were_broken_off(taken):
    without, ahead = loader(), loader(prefetch=True)
    for count in taken:
        for each in (without, ahead):
            for i, _ in enumerate(each):
                if i >= count:
                    break
        assert not workers()
    same(without, ahead)


def test_items_come_in_order_and_no_more_are_made_than_asked_for():
    made = []

    def source():
        for i in range(20):
            made.append(i)
            yield i

    items = prefetched(source(), ahead=2)
    assert next(items) == 0
    for expected in range(1, 20):
        deadline = time.time() + 5
        while len(made) < min(expected + 2, 20) and time.time() < deadline:
            time.sleep(0.001)
        time.sleep(0.002)
        assert len(made) <= expected + 3  # two wait, and one is being made
        assert next(items) == expected
    assert next(items, None) is None and not workers()


def test_the_next_item_is_made_meanwhile():
    def slow():
        for i in range(5):
            time.sleep(0.05)
            yield i

    start = time.time()
    for _ in prefetched(slow()):
        time.sleep(0.05)
    assert time.time() - start < 0.45  # in turn it takes half a second


class Faulty(Dataset):
    def __len__(self):
        return 100

    def __getitem__(self, index):
        if index == 37:
            raise KeyError("sample 37 is damaged")
        return np.float32([index])


def test_errors_come_out_after_the_batches_before_them_with_their_traceback():
    seen = []
    with pytest.raises(KeyError, match="sample 37 is damaged") as caught:
        for (x,) in DataLoader(Faulty(), 10, prefetch=True):
            seen += x.data.ravel().tolist()
    assert seen == list(range(30))
    assert "__getitem__" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


def test_an_error_of_a_kernels_check_comes_out():
    short = ImageDataset(IMAGES, LABELS)
    with pytest.raises(ValueError, match="augment: indices are"):
        list(DataLoader(short, 8, transform=ImageTransform((0.5,), (0.5,)), prefetch=True))


def test_what_ends_an_iteration_ends_its_thread():
    for _ in loader(prefetch=True):
        break
    assert not workers()
    with pytest.raises(ZeroDivisionError):
        for _ in loader(prefetch=True):
            _ = 1 / 0
    gc.collect()
    iteration = iter(loader(prefetch=True))
    next(iteration)
    assert len(workers()) == 1
    iteration.close()
    assert not workers()
    forgotten = iter(loader(prefetch=True))
    next(forgotten)
    cycle = [forgotten]
    cycle.append(cycle)
    del forgotten, cycle
    gc.collect()
    assert not workers()


def test_an_iteration_that_is_never_begun_has_no_thread():
    iter(loader(prefetch=True))
    assert not workers()


def test_several_at_once():
    a, b, expected = loader(prefetch=True), loader(prefetch=True), list(loader())
    pairs = list(zip(a, b, strict=True))
    same([pair[0] for pair in pairs], expected)
    same([pair[1] for pair in pairs], expected)


def test_feeding_costs_at_most_5_percent_of_a_cifar_step():
    """The quickest of several steps each, since only other processes make one slower; one attempt of five counts."""
    batch, rng = 64, np.random.default_rng(0)
    data = ImageDataset(rng.integers(0, 256, (8192, 3, 32, 32), np.uint8), rng.integers(0, 10, 8192))
    transform = ImageTransform(MEAN, STD, padding=4, flip="alternate", cutout=8, seed=0)
    batches = iter(DataLoader(data, batch, True, seed=0, transform=transform, prefetch=True))
    one = next(batches)
    model = models.cifar_cnn()
    with exactly(1):
        step = compile_step(model, SGD(model.parameters(), lr=1e-4), CrossEntropyLoss(), *(t.data for t in one), 1)

        def quickest(feed):
            times = []
            for _ in range(6):
                start = time.perf_counter()
                x, y = feed()
                step(x.data, y.data)
                times.append(time.perf_counter() - start)
            return min(times)

        for _ in range(5):
            fed, alone = quickest(lambda: next(batches)), quickest(lambda: one)
            if fed <= 1.05 * alone:
                break
        else:
            pytest.fail(f"{fed / alone - 1:.1%} in the last of five measurements")
    batches.close()


# -- processes ---------------------------------------------------------------------------------------------------------

START = """
import sys, time
import numpy as np
from tinytorch import DataLoader, ImageDataset, ImageTransform
images = np.zeros((4096, 3, 32, 32), np.uint8)
transform = ImageTransform((0.5,) * 3, (0.5,) * 3, padding=4, flip=True, cutout=8, seed=0)
batches = DataLoader(ImageDataset(images, np.zeros(4096, int)), 1024, True, seed=0, transform=transform, prefetch=True)
"""


def process(code, **variables):
    return subprocess.Popen(
        [sys.executable, "-c", START + code], cwd=Path(__file__).parents[2], env={**os.environ, **variables},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_python_exits_in_the_middle_of_an_iteration():
    running = [
        process("iteration = iter(batches); next(iteration)"),  # a batch waits to be taken
        process(
            "kept = [iter(batches) for _ in range(8)]; [next(i) for i in kept]; sys.exit(0)"
        ),  # some are being made
        process("for x, y in batches: kept = batches"),
    ]
    for each in running:
        _, err = each.communicate(timeout=TIMEOUT_S)
        assert (each.returncode, err) == (0, "")


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("code", (
    "for x, y in batches:\n    print('begun', flush=True)\n    time.sleep(60)",  # in the loop's body
    "batches.transform.prepare = lambda *_: print('begun', flush=True) or time.sleep(2)\nlist(batches)",  # waiting
))  # fmt: skip
def test_ctrl_c_ends_it(code):
    running = process(code)
    assert running.stdout.readline() == "begun\n"
    time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == -signal.SIGINT
    assert err.rstrip().endswith("KeyboardInterrupt") and err.count("Traceback") == 1


TOGETHER = """
from kernels import threads
from tinytorch import SGD, CrossEntropyLoss, Flatten, Linear, Sequential, Trainer
np.random.seed(0)
model = Sequential(Flatten(), Linear(3072, 256), Linear(256, 10))
optimizer = SGD(model.parameters(), lr=0.01)
trainer = Trainer(model, optimizer, CrossEntropyLoss())
images[...] = np.arange(images.size).reshape(images.shape) % 251
batches.prefetch = PREFETCH
for _ in range(3):
    trainer.train_epoch(batches)
print(threads.layer(), sum(float(np.abs(p.data).sum(dtype=np.float64)) for p in model.parameters()))
"""


def test_training_beside_it_gives_the_same_weights_on_any_layer_and_number_of_threads():
    """Kernels of both threads run at once; Numba's workqueue layer ends a process that launches twice at a time."""
    running = {}
    for layer, threads, prefetch in (("omp", 2, True), ("workqueue", 2, True), ("omp", 1, True), ("omp", 2, False)):
        code = TOGETHER.replace("PREFETCH", str(prefetch))
        running[layer, threads, prefetch] = process(code, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS=str(threads))
    results = set()
    for (layer, *_), each in running.items():
        out, err = each.communicate(timeout=TIMEOUT_S)
        assert each.returncode == 0, err
        used, weights = out.split()
        assert used == layer
        results.add(weights)
    assert len(results) == 1
