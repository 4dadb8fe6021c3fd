"""Complete systems, one readable file each."""

from phosphene.methods.base import Method

__all__ = ["Method"]
