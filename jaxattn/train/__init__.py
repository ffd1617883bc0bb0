"""State, optimizer, steps, loop, checkpoints, log. Knows nothing of evaluation or reports."""
