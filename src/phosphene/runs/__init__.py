"""One recipe to one run folder, and from there to its scores."""
