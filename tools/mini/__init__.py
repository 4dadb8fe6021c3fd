"""The parts of `tools/train_mini.py`."""
