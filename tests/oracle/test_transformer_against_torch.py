"""A whole GPT against the same net in PyTorch's functions: logits, loss and the gradient of every parameter."""

from __future__ import annotations

import numpy as np
import pytest

from tests.oracle import nets
from tests.oracle.against import BOUND, torch
from tests.tolerance import nmse
from tinytorch import GPT, CrossEntropyLoss, MultiHeadAttention, Tensor

pytestmark = [pytest.mark.oracle, pytest.mark.usefixtures("backend")]
F = torch.nn.functional


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
def test_a_gpt_of_two_layers_and_all_its_gradients(positions):
    np.random.seed(3)
    model = GPT(19, 24, 2, 3, 16, positions=positions)
    for p in model.parameters():
        p.data[...] += np.random.normal(0, 0.2, p.shape)
    tokens, targets = np.random.randint(0, 19, (2, 3, 13))
    w = nets.weights(model)
    logits, torch_logits = model(tokens), nets.gpt(model, w, torch.tensor(tokens))
    assert nmse(logits.data, torch_logits.detach().numpy()) <= BOUND[np.float32]
    loss = CrossEntropyLoss()(logits, Tensor(targets))
    torch_loss = F.cross_entropy(torch_logits.flatten(0, 1), torch.tensor(targets).flatten())
    assert abs(loss.item() - torch_loss.item()) <= 1e-5
    loss.backward()
    torch_loss.backward()
    for name, p in model.named_parameters():
        wanted = w[name].grad.numpy()
        if name.endswith("k_proj.bias") and positions != "rotary":  # adds the same to all scores of a row: no gradient
            assert np.abs(p.grad).max() < 1e-6 and np.abs(wanted).max() < 1e-6
        else:
            assert nmse(p.grad, wanted) <= BOUND[np.float32], name


@pytest.mark.parametrize("causal", [False, True])
def test_multi_head_attention_is_pytorchs(causal):
    np.random.seed(4)
    ours, x = MultiHeadAttention(12, 3, causal=causal), np.random.standard_normal((2, 5, 12)).astype(np.float32)
    module = torch.nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        projections = (ours.q_proj, ours.k_proj, ours.v_proj)
        module.in_proj_weight[...] = torch.tensor(np.concatenate([p.weight.data.T for p in projections]))
        module.in_proj_bias[...] = torch.tensor(np.concatenate([p.bias.data for p in projections]))
        module.out_proj.weight[...] = torch.tensor(ours.out_proj.weight.data.T)
        module.out_proj.bias[...] = torch.tensor(ours.out_proj.bias.data)
        hidden = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1) if causal else None
        wanted, weights = module(*[torch.tensor(x)] * 3, attn_mask=hidden, average_attn_weights=False)
    assert nmse(ours(Tensor(x)).data, wanted.numpy()) <= BOUND[np.float32]
    assert nmse(ours.weights(Tensor(x)).data, weights.numpy()) <= BOUND[np.float32]
