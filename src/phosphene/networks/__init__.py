"""Networks that several nouns share, and how those that remove noise are trained and sampled."""
