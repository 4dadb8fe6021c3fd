"""Frozen target spaces, one file each."""

from phosphene.targets.base import Target, TargetTable

__all__ = ["Target", "TargetTable"]
