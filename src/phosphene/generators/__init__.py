"""Generators of pictures, one file each."""

from phosphene.generators.base import Conditioning, Generator

__all__ = ["Conditioning", "Generator"]
