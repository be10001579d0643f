"""Base class of the types that passes make."""

from .base import Layer


class InternalLayer(Layer):
    """A type of this project, unknown to Caffe: passes and Graph.labelled make its nodes.

    Such a node has `parts` or a `setting`, which a text cannot give. `instead`: what to write.
    """

    internal = True
    instead = ''

    def setup(self):
        if not self.node.parts and self.node.setting is None:
            raise self.error('this type is made by a pass, not written in a text', self.instead)
