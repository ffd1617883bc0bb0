"""What is on disk of a run: its kind, folder, results, predictions, and what trackers get."""
