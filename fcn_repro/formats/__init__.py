"""Files: caffemodel, HDF5, solver states, and writing any file whole or not at all."""
