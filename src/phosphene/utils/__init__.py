"""What knows nothing of EEG or models: files, tables, pictures, processes, progress."""
