"""Sources of trials, one file each."""

from phosphene.datasets.base import Dataset, Recording

__all__ = ["Dataset", "Recording"]
