"""EEG: trials, and what becomes of a recording before a model reads it."""
