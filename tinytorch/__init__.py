"""TinyTorch: a deep-learning framework small enough to read and fast enough to compete.

Everything the course names can be imported from here; `tinytorch.nn` and `tinytorch.optim` hold it under PyTorch's
names. Compiled kernels are loaded when the first one is wanted, so importing is quick.
"""

from tinytorch import nn, optim
from tinytorch.core.activations import GELU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from tinytorch.core.attention import MultiHeadAttention, create_causal_mask, scaled_dot_product_attention
from tinytorch.core.augmentation import ImageTransform
from tinytorch.core.autograd import enable_autograd, no_grad
from tinytorch.core.averaging import EMA
from tinytorch.core.dataloader import (
    Compose,
    DataLoader,
    Dataset,
    ImageDataset,
    RandomCrop,
    RandomHorizontalFlip,
    TensorDataset,
)
from tinytorch.core.embeddings import Embedding, EmbeddingLayer, PositionalEncoding, create_sinusoidal_embeddings
from tinytorch.core.layers import Dropout, Flatten, Layer, Linear, Sequential
from tinytorch.core.losses import BinaryCrossEntropyLoss, CrossEntropyLoss, MSELoss, log_softmax
from tinytorch.core.optimizers import SGD, Adam, AdamW, Optimizer
from tinytorch.core.schedules import CosineSchedule, OneCycleSchedule
from tinytorch.core.spatial import AvgPool2d, BatchNorm2d, Conv2d, MaxPool2d
from tinytorch.core.tensor import Tensor
from tinytorch.core.tokenization import BPETokenizer, CharTokenizer, Tokenizer
from tinytorch.core.training import Trainer, clip_grad_norm, clip_grad_value
from tinytorch.core.transformer import GPT, MLP, LayerNorm, TransformerBlock
from tinytorch.engine.dispatch import use_backend
from tinytorch.engine.plan import Plan
from tinytorch.perf.acceleration import accelerate as compile
from tinytorch.perf.decoding import Decoder
from tinytorch.perf.training import compile_step

load_plan = Plan.load

__version__ = "0.1.0"

__all__ = [
    "EMA",
    "GELU",
    "GPT",
    "MLP",
    "SGD",
    "Adam",
    "AdamW",
    "AvgPool2d",
    "BPETokenizer",
    "BatchNorm2d",
    "BinaryCrossEntropyLoss",
    "CharTokenizer",
    "Compose",
    "Conv2d",
    "CosineSchedule",
    "CrossEntropyLoss",
    "DataLoader",
    "Dataset",
    "Decoder",
    "Dropout",
    "Embedding",
    "EmbeddingLayer",
    "Flatten",
    "ImageDataset",
    "ImageTransform",
    "Layer",
    "LayerNorm",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "MaxPool2d",
    "MultiHeadAttention",
    "OneCycleSchedule",
    "Optimizer",
    "Plan",
    "PositionalEncoding",
    "RandomCrop",
    "RandomHorizontalFlip",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "Tensor",
    "TensorDataset",
    "Tokenizer",
    "Trainer",
    "TransformerBlock",
    "clip_grad_norm",
    "clip_grad_value",
    "compile",
    "compile_step",
    "create_causal_mask",
    "create_sinusoidal_embeddings",
    "enable_autograd",
    "load_plan",
    "log_softmax",
    "nn",
    "no_grad",
    "optim",
    "scaled_dot_product_attention",
    "use_backend",
]  # fmt: skip
