"""What a number means, how it is computed, and how sure it is."""
