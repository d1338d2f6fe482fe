"""Data sets, loaders and augmentation."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch import (
    Compose,
    DataLoader,
    Dataset,
    ImageDataset,
    ImageTransform,
    RandomCrop,
    RandomHorizontalFlip,
    Tensor,
    TensorDataset,
)


class Squares(Dataset):
    """Samples that are not tensors: (i, i squared)."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        return [float(index)], index * index


def numbers(n):
    return TensorDataset(np.arange(n, dtype=np.float32)[:, None], np.arange(n))


def order(loader):
    return [int(i) for _, y in loader for i in y.data]


@given(st.integers(0, 60), st.integers(1, 25), st.booleans(), st.booleans(), st.integers(0, 5))
def test_every_index_comes_exactly_once(n, batch_size, shuffle, drop_last, seed):
    loader = DataLoader(numbers(n), batch_size, shuffle, drop_last, seed)
    sizes = [len(y) for _, y in loader]
    seen = order(loader)
    assert len(sizes) == len(loader) == (n // batch_size if drop_last else -(-n // batch_size))
    assert all(size == batch_size for size in (sizes if drop_last else sizes[:-1]))
    assert len(seen) == len(set(seen)) == (n - n % batch_size if drop_last else n)
    assert set(seen) <= set(range(n))


def test_rows_stay_together():
    for x, y in DataLoader(numbers(50), 7, shuffle=True, seed=3):
        np.testing.assert_array_equal(x.data[:, 0], y.data)
        assert x.dtype == np.float32 and y.dtype.kind == "i"


def test_a_seed_gives_the_same_epochs_and_each_epoch_another_order():
    a, b = (DataLoader(numbers(100), 10, shuffle=True, seed=5) for _ in range(2))
    first, second = order(a), order(a)
    assert (first, second) == (order(b), order(b))
    assert first != second and sorted(first) == sorted(second) == list(range(100))
    assert order(DataLoader(numbers(100), 10, shuffle=True, seed=6)) != first
    assert order(DataLoader(numbers(100), 10)) == list(range(100))


def test_without_a_seed_shuffling_follows_numpys():
    np.random.seed(4)
    first = order(DataLoader(numbers(50), 10, shuffle=True))
    np.random.seed(4)
    assert order(DataLoader(numbers(50), 10, shuffle=True)) == first


def test_a_seeded_loader_leaves_numpys_global_generator_alone():
    np.random.seed(4)
    expected = np.random.random()
    np.random.seed(4)
    order(DataLoader(numbers(50), 10, shuffle=True, seed=1))
    assert np.random.random() == expected


def test_data_sets_of_python_values_are_stacked():
    loader = DataLoader(Squares(5), 2)
    batches = list(loader)
    assert [x.shape for x, _ in batches] == [(2, 1), (2, 1), (1, 1)]
    x, y = batches[1]
    np.testing.assert_array_equal(x.data, [[2], [3]])
    np.testing.assert_array_equal(y.data, [4, 9])
    assert x.dtype == np.float32 and y.dtype == np.int64


def test_samples_without_a_label():
    class Single(Squares):
        def __getitem__(self, index):
            return Tensor([float(index), 0.0])

    (x,) = next(iter(DataLoader(Single(3), 3)))
    np.testing.assert_array_equal(x.data, [[0, 0], [1, 0], [2, 0]])


def test_tensor_dataset_gives_rows_and_keeps_dtypes():
    data = TensorDataset(Tensor(np.eye(3), dtype=np.float64), np.array([1, 2, 3], np.int32), [5.0, 6.0, 7.0])
    x, y, z = data[1]
    np.testing.assert_array_equal(x.data, [0, 1, 0])
    assert (x.dtype, y.dtype, z.dtype) == (np.float64, np.int32, np.float32)
    assert (y.item(), z.item(), len(data)) == (2, 6, 3)


def test_what_is_refused():
    with pytest.raises(ValueError, match="batch_size is 0, it must be at least 1"):
        DataLoader(numbers(3), 0)
    with pytest.raises(ValueError, match=r"tensors have \[3, 2\] rows; all must have the same number"):
        TensorDataset(np.zeros(3), np.zeros(2))
    with pytest.raises(ValueError, match="no tensors given; give at least one"):
        TensorDataset()
    with pytest.raises(TypeError, match="Dataset: no __len__"):
        len(Dataset())
    with pytest.raises(TypeError, match="Dataset: no __getitem__"):
        Dataset()[0]
    with pytest.raises(ValueError, match="RandomHorizontalFlip: p is 2, it is a probability"):
        RandomHorizontalFlip(2)
    with pytest.raises(ValueError, match=r"images are \(1, 4, 4\), padded by 1: too small for a 8x8 window; pad more"):
        RandomCrop(8, padding=1)(np.zeros((1, 4, 4)))


def test_flips_are_decided_image_by_image():
    images = np.random.default_rng(0).random((200, 1, 2, 3)).astype(np.float32)
    flipped = RandomHorizontalFlip(0.5, seed=1)(images)
    mirrored = (flipped == images[..., ::-1]).all((1, 2, 3))
    kept = (flipped == images).all((1, 2, 3))
    assert (mirrored ^ kept).all() and 70 < mirrored.sum() < 130
    np.testing.assert_array_equal(RandomHorizontalFlip(1.0)(images[0]), images[0][..., ::-1])
    np.testing.assert_array_equal(RandomHorizontalFlip(0.0)(images), images)


def test_crops_are_windows_of_the_padded_image():
    images = np.arange(1, 1 + 50 * 16, dtype=np.float32).reshape(50, 1, 4, 4)
    cut = RandomCrop(4, padding=1, seed=0)(images)
    places = set()
    for image, crop in zip(np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1))), cut, strict=True):
        found = [(i, j) for i in range(3) for j in range(3) if (image[:, i : i + 4, j : j + 4] == crop).all()]
        assert len(found) == 1
        places.update(found)
    assert len(places) == 9
    assert RandomCrop((2, 3))(images[0]).shape == (1, 2, 3)


def test_transforms_compose_keep_the_kind_that_came_and_reach_only_the_first_array():
    transform = Compose([RandomHorizontalFlip(1.0), RandomCrop(2)])
    tensor = transform(Tensor(np.ones((1, 1, 3, 3))))
    assert isinstance(tensor, Tensor) and tensor.shape == (1, 1, 2, 2)
    assert isinstance(transform(np.ones((1, 3, 3))), np.ndarray)
    data = TensorDataset(np.arange(8, dtype=np.float32).reshape(2, 1, 2, 2), np.array([[1, 2], [3, 4]]))
    x, y = next(iter(DataLoader(data, 2, transform=RandomHorizontalFlip(1.0))))
    np.testing.assert_array_equal(x.data[0, 0], [[1, 0], [3, 2]])
    np.testing.assert_array_equal(y.data, [[1, 2], [3, 4]])


# -- images kept as bytes ----------------------------------------------------------------------------------------------

BYTES = np.random.default_rng(0).integers(0, 256, (30, 3, 6, 5)).astype(np.uint8)
LABELS = np.arange(30, dtype=np.uint8)


def augmenting(**how):
    return ImageTransform((0.5, 0.4, 0.3), (0.2, 0.3, 0.4), padding=2, flip="alternate", cutout=2, **how)


def test_an_image_data_set_is_not_copied_and_its_labels_are_int64():
    BYTES.flags.writeable = False
    data = ImageDataset(BYTES, LABELS)
    assert np.shares_memory(data.images, BYTES) and len(data) == 30 and data.labels.dtype == np.int64
    x, y = data[3]
    assert (x.dtype, x.shape, y.dtype, y.item()) == (np.float32, (3, 6, 5), np.int64, 3)
    np.testing.assert_allclose(x.data, BYTES[3] / 255, rtol=1e-6)
    x, y = next(iter(DataLoader(data, 8)))
    assert (x.dtype, x.shape, y.dtype) == (np.float32, (8, 3, 6, 5), np.int64)


@given(st.integers(1, 31), st.booleans(), st.booleans(), st.booleans())
def test_each_image_is_transformed_as_its_index_and_the_epoch_say(batch_size, shuffle, drop_last, prefetch):
    transform = augmenting(seed=2)
    loader = DataLoader(ImageDataset(BYTES, LABELS), batch_size, shuffle, drop_last, 1, transform, prefetch)
    for epoch in range(3):
        draws = transform.draw(np.arange(30), epoch)
        expected = transform.prepare(BYTES, np.arange(30), draws)
        for x, y in loader:
            assert x.dtype == np.float32 and y.dtype == np.int64
            np.testing.assert_array_equal(x.data, expected[y.data])


def test_other_data_sets_of_bytes_are_transformed_alike():
    class Bytes(Squares):
        def __getitem__(self, index):
            return BYTES[index], index

    kinds = ImageDataset(BYTES, LABELS), Bytes(30), TensorDataset(BYTES, LABELS)
    loaders = [DataLoader(kind, 7, True, seed=1, transform=augmenting(seed=2)) for kind in kinds]
    for _ in range(2):
        for batches in zip(*loaders, strict=True):
            for x, y in batches[1:]:
                assert x.dtype == np.float32
                np.testing.assert_array_equal(x.data, batches[0][0].data)
                np.testing.assert_array_equal(y.data, batches[0][1].data)


def test_any_function_still_is_a_transform():
    x, _ = next(iter(DataLoader(ImageDataset(BYTES, LABELS), 4, transform=lambda x: x * 2)))
    np.testing.assert_allclose(x.data, BYTES[:4] / 127.5, rtol=1e-6)
    x, _ = next(iter(DataLoader(numbers(4), 4, transform=lambda x: x.astype(np.float64) * 2)))
    assert x.dtype == np.float32  # the tensor's own


def test_images_that_are_refused():
    with pytest.raises(
        TypeError, match=r"ImageDataset: images are \(2, 3\) float64: they must be \(N, C, H, W\) uint8"
    ):
        ImageDataset(np.zeros((2, 3)), [1, 2])
    with pytest.raises(ValueError, match=r"labels are \(2,\) int64: there must be one whole number for each image"):
        ImageDataset(BYTES, [1, 2])
    with pytest.raises(ValueError, match=r"labels are \(30,\) float64: there must be"):
        ImageDataset(BYTES, np.zeros(30))


# -- going on where a run was stopped ----------------------------------------------------------------------------------


def recorded(loader, epochs):
    return [[(x.data.copy(), y.data.copy()) for x, y in loader] for _ in range(epochs)]


def check_same(a, b):
    for epoch, other in zip(a, b, strict=True):
        for batch, its in zip(epoch, other, strict=True):
            for array, another in zip(batch, its, strict=True):
                np.testing.assert_array_equal(array, another)


COURSE = TensorDataset(BYTES.astype(np.float32), LABELS)
MAKERS = {
    "images": lambda seed: DataLoader(ImageDataset(BYTES, LABELS), 8, True, seed=seed, transform=augmenting(seed=seed)),
    "ahead": lambda seed: DataLoader(
        ImageDataset(BYTES, LABELS), 8, True, True, seed, augmenting(seed=seed), prefetch=True
    ),
    "course": lambda seed: DataLoader(
        COURSE, 8, True, seed=seed,
        transform=Compose([RandomHorizontalFlip(seed=seed), RandomCrop(5, padding=1, seed=seed), lambda x: x]),
    ),
    "function": lambda seed: DataLoader(COURSE, 8, True, seed=seed, transform=lambda x: x + 1),
    "in order": lambda seed: DataLoader(COURSE, 8),
}  # fmt: skip


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("before", (0, 1, 3))
def test_a_resumed_loader_gives_what_the_stopped_one_would_have(kind, before):
    loader = MAKERS[kind](5)
    recorded(loader, before)
    state = json.loads(json.dumps(loader.state_dict()))  # as a checkpoint keeps it
    expected = recorded(loader, 3)
    resumed = MAKERS[kind](77)
    next(iter(resumed))
    resumed.load_state_dict(state)
    check_same(recorded(resumed, 3), expected)
    resumed.load_state_dict(state)  # which has not changed
    check_same(recorded(resumed, 1), expected[:1])


@pytest.mark.parametrize("kind", MAKERS)
def test_within_an_epoch_the_state_is_that_of_its_beginning(kind):
    loader = MAKERS[kind](5)
    recorded(loader, 1)
    before = loader.state_dict()
    states, expected = [], []
    for x, y in loader:
        states.append(loader.state_dict())
        expected.append((x.data.copy(), y.data.copy()))
    assert states == [before] * len(states) != [loader.state_dict()] * len(states)
    resumed = MAKERS[kind](6)
    resumed.load_state_dict(states[1])
    check_same(recorded(resumed, 1), [expected])
    iteration = iter(loader)
    next(iteration)
    assert loader.state_dict()["epoch"] == 2
    iteration.close()  # broken off: what comes next is another epoch
    assert loader.state_dict()["epoch"] == 3


def test_states_that_are_refused():
    with pytest.raises(ValueError, match=r"state_dict: it is shuffled by NumPy's global generator, .* with a seed"):
        DataLoader(COURSE, 8, shuffle=True).state_dict()
    state, loader = MAKERS["images"](0).state_dict(), MAKERS["in order"](0)
    with pytest.raises(ValueError, match="a loader with a seed, this one has no seed; make it as that one was made"):
        loader.load_state_dict(state)
    with pytest.raises(ValueError, match="a loader with no transform that has a state, this one has a transf"):
        MAKERS["images"](0).load_state_dict(MAKERS["function"](0).state_dict())
    assert loader.state_dict() == MAKERS["in order"](1).state_dict()
