"""The course's way of working: one's own modules in the place of TinyTorch's, from `Tensor` to the milestones."""
