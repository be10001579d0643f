"""Layer types of PSPNet's fork alone."""
