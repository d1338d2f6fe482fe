"""Arrays in, arrays out: kernels compiled by Numba, and programs made of them. Knows no Tensor.

From the metal up: `simd/` (vectors and tiles), `machine.py` (a kernel as a C function), `cache.py` (its code on
disk), `loop.py` (the compiled loop that runs rows of steps), `program.py` and `arena.py` (from symbolic steps to
rows); `ahead.py` compiles before anything is needed. Above them the kernels with their lowerings: `product.py` under
`matmul.py` and `conv.py`, `toom_cook.py` and `patches.py` under `winograd.py` and `winograd_grad.py`, `narrow.py` and
`narrow_grad.py` for short windows, `grouped.py` and `depthwise.py`; `int8.py` and `sparse.py`; `functions.py` under
`elementwise.py`, `gelu.py` and `softmax.py`; `attention_tiles.py` under `attention.py` and `attention_grad.py`, and
`decoding.py` for one query to a cache; `pool.py`, the norms, `optimizers.py`, `layout.py`, `views.py` and others.
`registry.py` finds a lowering by the name of an op, `threads.py` sets the thread counts. Importing the package imports
none of them.
"""
