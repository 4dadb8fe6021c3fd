"""The table of pretrained models, and the samplers of those that draw."""
