"""Priors: embedding to embedding, one file each."""
