"""What a decoder listens to and how it fails: scalp maps of its heads, dominant heads, collapse, hallucination.

Numbers come first, as arrays and tables; `phosphene.explain.figures` draws them. Everything takes plain arrays and
callables, so that it serves any method with heads. The questions are those of Rezvani et al. (2025, arXiv 2507.07157,
sections 4.2 and 4.3); the paper does not give its statistics, so they are ours throughout.
"""
