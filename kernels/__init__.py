"""Arrays in, arrays out: kernels compiled by Numba, and programs made of them. Knows no Tensor."""
