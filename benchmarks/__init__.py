"""The same work in this project, PyTorch, ONNX Runtime and NumPy, timed in turn and told as ratios.

`work`, `transformer_work` and `accuracy_work` say what is computed, `libraries` how each library computes it, `contest`
times them in turn, the groups (`kernels`, `sparse`, `inference`, `training`, `transformer`, `overhead`, `accuracy`)
list what is compared, `targets` what has to be reached.
"""
