"""Layer types of HED's fork and of Caffe's branch `future`, which it and CRF-RNN's come from."""
