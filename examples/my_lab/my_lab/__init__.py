"""What is registered by importing this package."""

from my_lab import backbone, captioner, dataset, encoder, generator, method, prior, target

__all__ = ["backbone", "captioner", "dataset", "encoder", "generator", "method", "prior", "target"]
