"""Many runs: a study, a recipe, or the cells of a grid side by side."""
