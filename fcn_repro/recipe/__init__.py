"""The staged recipe: stages, runs, training, Table 2's comparison."""
