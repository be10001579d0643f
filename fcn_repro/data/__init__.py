"""Data sets: readers, the order of samples, and the classes behind Python data layers."""

import importlib
from collections.abc import Mapping

_CLASSES = {
    ('voc_layers', 'VOCSegDataLayer'): 'fcn_repro.data.voc:VOCSegDataLayer',
    ('voc_layers', 'SBDDSegDataLayer'): 'fcn_repro.data.sbd:SBDDSegDataLayer',
    ('digit_layers', 'DigitDataLayer'): 'fcn_repro.data.digits:DigitDataLayer',
    ('m2nist_layers', 'M2nistDataLayer'): 'fcn_repro.data.m2nist:M2nistDataLayer',
    ('m2nist_layers', 'M2nistDigitDataLayer'): 'fcn_repro.data.m2nist:M2nistDigitDataLayer',
}


class _PythonLayers(Mapping):
    """A dict of classes that imports a class when it is asked for."""

    def __getitem__(self, key):
        module, name = _CLASSES[key].split(':')
        return getattr(importlib.import_module(module), name)

    def __iter__(self):
        return iter(_CLASSES)

    def __len__(self):
        return len(_CLASSES)

    def __contains__(self, key):
        return key in _CLASSES


# (module, layer) of a prototxt's python_param to the class: cls(params), .tops, len(), .ids,
# .batch(k) -> one array a top: a pure function of k, for which several threads may ask ahead. Where
# pixels have labels: .sample(k), and .samples(k) and .blobs(samples), which make up batch(k).
python_layers = _PythonLayers()
