"""Base classes and functions that several layer types share."""
