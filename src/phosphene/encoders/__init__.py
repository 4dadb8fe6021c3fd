"""Encoders of EEG, one file each."""

from phosphene.encoders.base import Encoder

__all__ = ["Encoder"]
