"""Making a trained model smaller and faster: quantization, compression, memoization, acceleration.

The first two return changed copies that still run eagerly, so accuracy is decided and debugged there; the last two turn
a model into something prepared for queries of one shape.
"""
