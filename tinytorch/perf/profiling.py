"""Where course code looks for the profiler; it is a package of its own (`profiler`)."""

from profiler.course import Profiler, analyze_weight_distribution, quick_profile

__all__ = ["Profiler", "analyze_weight_distribution", "quick_profile"]
