"""What can be typed after `tito`: a file for each command, with EXAMPLES, `add_parser` and `run` as in `mlperf`."""
