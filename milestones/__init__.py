"""The milestones: scripts that train a historic network from scratch and check its claim on data it has not seen."""
