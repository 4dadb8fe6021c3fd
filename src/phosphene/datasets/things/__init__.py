"""The parts of `things_eeg2`: channels, names of pictures, files, and the published preprocessing."""
