"""Layer types of ParseNet's fork."""
