"""Phosphene: decode, reconstruct and explain what a person saw, from their EEG."""

__version__ = "0.1.0.dev0"
