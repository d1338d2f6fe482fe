"""What `python -m mlperf` can be told, one file a command."""
