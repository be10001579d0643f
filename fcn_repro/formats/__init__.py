"""Files: caffemodel, HDF5, solver states, databases, and writing any file whole or not at all."""
