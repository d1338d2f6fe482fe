"""Arrays in, arrays out: kernels compiled by Numba, and programs made of them. Knows no Tensor.

From the metal up: `simd/` (vectors and tiles), `machine.py` (a kernel as a C function), `cache.py` (its code on
disk), `loop.py` (the compiled loop that runs rows of steps), `program.py` and `arena.py` (from symbolic steps to
rows). Above them the kernels with their lowerings: `product.py` under `matmul.py` and `conv.py`; `functions.py` under
`elementwise.py` and `softmax.py`; `pool.py`, `optimizers.py`, `quantize.py`, `layout.py`, `views.py`. `registry.py`
finds a lowering by the name of an op, `threads.py` sets the thread counts. Importing the package imports none of them.
"""
