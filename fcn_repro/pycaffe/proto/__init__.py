"""Where pycaffe has its messages: caffe.proto.caffe_pb2."""
