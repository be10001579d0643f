"""Layer types of this project: passes make them, no prototxt names them."""
