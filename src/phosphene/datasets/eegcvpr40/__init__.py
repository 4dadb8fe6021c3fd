"""EEGCVPR40: the dataset, its files, and a simulated study in the same files."""
