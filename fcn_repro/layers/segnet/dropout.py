"""Dropout of SegNet's and ENet's forks, which can sample when testing too (dropout_layer)."""

from ..dropout import Dropout


class SamplingDropout(Dropout):
    """As Caffe's Dropout; sample_weights_test: values are dropped in TEST as in TRAIN, so that the
    mean and the variance of several passes say how sure a net is (Bayesian SegNet)."""

    dialect_fields = ('dropout_param.sample_weights_test',)

    @property
    def samples(self):
        return self.train or self.param.sample_weights_test

    @property
    def linear(self):
        return not self.param.sample_weights_test

    @property
    def keeps_ranking(self):
        return not self.param.sample_weights_test

    def torch_code(self, code):
        self.check_exported()
        return super().torch_code(code)

    def onnx_nodes(self, nodes):
        self.check_exported()
        return super().onnx_nodes(nodes)

    def check_exported(self):
        """FcnError where it drops values when testing."""
        if self.param.sample_weights_test:
            raise self.error('it drops values at random when testing, which cannot be exported',
                             'Remove sample_weights_test; the net then gives the mean.')
