"""What several layer types share."""
