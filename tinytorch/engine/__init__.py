"""What makes TinyTorch work and makes it fast: the dispatch seam, the ops, the weight formats and the captured plan.

Nothing here knows `Tensor`; arrays go in and arrays come out. `tinytorch.core` is built on top of it.
"""
