"""Weights as others published them, read into our networks without running anything they hold."""
