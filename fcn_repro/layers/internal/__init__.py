"""Fused layer types of our own, which passes make and no prototxt names."""
