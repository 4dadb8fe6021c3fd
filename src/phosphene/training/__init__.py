"""How methods are trained: the stages in their order, and the one loop."""
