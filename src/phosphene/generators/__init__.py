"""Generators of pictures, one file each."""

from phosphene.generators.base import Conditioning, Generator, Prompt

__all__ = ["Conditioning", "Generator", "Prompt"]
