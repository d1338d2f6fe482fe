"""PyTorch as oracle: these tests run where it is installed, and are skipped, not failed, where it is not."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
