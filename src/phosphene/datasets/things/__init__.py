"""THINGS-EEG2 and THINGS-MEG: channels, names of pictures, files, and the published preprocessing."""
