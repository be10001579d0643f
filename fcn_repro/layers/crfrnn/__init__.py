"""Layers of CRF-RNN's forks (torrvision/caffe)."""
