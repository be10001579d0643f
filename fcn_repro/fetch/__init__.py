"""Data sets and weights from where their authors publish them: what there is, how it is fetched, how
it is told that it is the right file. Nothing here runs unless it is asked for by name."""
