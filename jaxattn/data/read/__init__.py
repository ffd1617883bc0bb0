"""Files, folders and the hub, row by row."""
