"""Pure functions on arrays that are no attention: positions, losses, paths in pytrees."""
