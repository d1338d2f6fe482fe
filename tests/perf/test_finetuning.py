"""Fine-tuning: it helps, zeros stay zero, the same seed makes the same weights, and what is refused."""

import numpy as np
import pytest

from tinytorch import datasets, models
from tinytorch.core.dataloader import DataLoader, TensorDataset
from tinytorch.core.losses import CrossEntropyLoss
from tinytorch.core.optimizers import AdamW
from tinytorch.core.schedules import CosineSchedule
from tinytorch.core.tensor import Tensor
from tinytorch.engine.block_sparse import BlockSparse
from tinytorch.engine.formats import Sparse
from tinytorch.perf.compression import block_prune, channel_prune, magnitude_prune
from tinytorch.perf.finetuning import finetune
from tinytorch.perf.quantization import quantize

DATA = datasets.load("digits")
X, Y = DATA.x_train[:400], DATA.y_train[:400]
LOSS = CrossEntropyLoss()
STORED = {magnitude_prune: Sparse, block_prune: BlockSparse, channel_prune: type(None)}


def batches(seed=0):
    return DataLoader(TensorDataset(X, Y), 64, shuffle=True, seed=seed)


def pruned(how=magnitude_prune):
    np.random.seed(1)
    return how(models.mlp(), 0.5, *(["layer"] if how is block_prune else []))


def loss_of(model):
    logits = model.predict(X)
    logits = logits - logits.max(1, keepdims=True)
    return float(np.mean(np.log(np.exp(logits).sum(1)) - logits[np.arange(len(Y)), Y]))


@pytest.mark.parametrize("how", [magnitude_prune, block_prune, channel_prune])
def test_the_loss_falls_and_what_is_gone_stays_gone(how):
    model = pruned(how)
    before = [layer.weight.data.copy() for layer in model.layers[::2]]
    tuned = finetune(model, batches(), LOSS, epochs=10, lr=0.01)
    assert loss_of(tuned) < 0.5 * loss_of(model)
    for old, untouched, new in zip(before, model.layers[::2], tuned.layers[::2]):
        assert not new.weight.data[old == 0].any()
        # Some pixels are always 0; where blocks went, units that no other reads any more, half of them, learn nothing.
        learning = 0.4 if how is block_prune else 0.5
        assert np.count_nonzero(new.weight.data != old) > learning * np.count_nonzero(old)
        np.testing.assert_array_equal(untouched.weight.data, old)
        assert new.weight.shape == old.shape
        assert type(getattr(new.weight, "format", None)) is STORED[how]
    assert not tuned.training


def test_the_seed_decides():
    first, again, other = (finetune(pruned(), batches(seed), LOSS, epochs=1) for seed in (4, 4, 5))
    for a, b in zip(first.parameters(), again.parameters()):
        np.testing.assert_array_equal(a.data, b.data)
    assert any((a.data != b.data).any() for a, b in zip(first.parameters(), other.parameters()))


def test_what_is_refused():
    with pytest.raises(ValueError, match="finetune: layer 0 is int8; fine-tune in float32, then quantise"):
        finetune(quantize(pruned(channel_prune), X), batches(), LOSS, epochs=1)
    with pytest.raises(ValueError, match="at least one epoch and a positive rate"):
        finetune(pruned(), batches(), LOSS, epochs=0)
    with pytest.raises(ValueError, match="epochs is 1 and lr is nan"):
        finetune(pruned(), batches(), LOSS, epochs=1, lr=float("nan"))
    with pytest.raises(ValueError, match="finetune: the loader has no batches; give at least one sample"):
        finetune(pruned(), DataLoader(TensorDataset(X, Y), 500, drop_last=True, seed=0), LOSS, epochs=1)


def test_captured_steps_on_any_number_of_threads_do_what_eager_ones_do():
    """Masked too: bit for bit on compiled kernels; the last batch, which is shorter, is trained eagerly anyway."""
    tuned = [finetune(pruned(), batches(), LOSS, epochs=2, lr=0.01, threads=threads) for threads in (1, 2)]
    eager = Trained(pruned())
    for a, b, c in zip(*(model.parameters() for model in (*tuned, eager.model))):
        np.testing.assert_array_equal(a.data, b.data)
        np.testing.assert_array_equal(a.data, c.data)


class Trained:
    """The same in plain words: AdamW along a cosine, and after each step the mask."""

    def __init__(self, model):
        self.model = model
        for layer in model.layers[::2]:
            layer.weight = Tensor(layer.weight.data.copy(), requires_grad=True)
        masks = [layer.weight.data != 0 for layer in model.layers[::2]]
        optimizer, data = AdamW(model.parameters(), weight_decay=0.0), batches()
        schedule = CosineSchedule(0.01, 0.0001, 2)
        for epoch in range(2):
            optimizer.lr = schedule.get_lr(epoch)
            for x, y in data:
                optimizer.zero_grad()
                LOSS(model(x), y).backward()
                optimizer.step()
                for layer, mask in zip(model.layers[::2], masks):
                    layer.weight.data *= mask


def test_progress_is_told_after_each_batch():
    seen = []
    finetune(pruned(), batches(), LOSS, epochs=2, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(i, 14) for i in range(1, 15)]
