"""Layer types of SegNet's fork, which ENet's has too."""
