"""The optimizers under PyTorch's module name."""

from tinytorch.core.optimizers import SGD, Adam, AdamW, Optimizer

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]
