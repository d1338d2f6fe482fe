"""Fine-tuning: it helps, zeros stay zero, the same seed makes the same weights, and what is refused."""

import numpy as np
import pytest

from tinytorch import datasets, models
from tinytorch.core.losses import CrossEntropyLoss
from tinytorch.engine.block_sparse import BlockSparse
from tinytorch.engine.formats import Sparse
from tinytorch.perf.compression import block_prune, channel_prune, magnitude_prune
from tinytorch.perf.finetuning import finetune
from tinytorch.perf.quantization import quantize

DATA = datasets.load("digits")
X, Y = DATA.x_train[:400], DATA.y_train[:400]
LOSS = CrossEntropyLoss()
STORED = {magnitude_prune: Sparse, block_prune: BlockSparse, channel_prune: type(None)}


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
    tuned = finetune(model, X, Y, LOSS, epochs=10, lr=0.01)
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
    first, again, other = (finetune(pruned(), X, Y, LOSS, epochs=1, seed=seed) for seed in (4, 4, 5))
    for a, b in zip(first.parameters(), again.parameters()):
        np.testing.assert_array_equal(a.data, b.data)
    assert any((a.data != b.data).any() for a, b in zip(first.parameters(), other.parameters()))


def test_what_is_refused():
    with pytest.raises(ValueError, match="finetune: layer 0 is int8; fine-tune in float32, then quantise"):
        finetune(quantize(pruned(channel_prune), X), X, Y, LOSS, epochs=1)
    with pytest.raises(ValueError, match="at least one epoch and a positive rate"):
        finetune(pruned(), X, Y, LOSS, epochs=0)
    with pytest.raises(ValueError, match="epochs is 1 and lr is nan"):
        finetune(pruned(), X, Y, LOSS, epochs=1, lr=float("nan"))
    with pytest.raises(ValueError, match="as many targets as samples"):
        finetune(pruned(), X, Y[:-1], LOSS, epochs=1)
