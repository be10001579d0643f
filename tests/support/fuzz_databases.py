"""Readers to fuzz: databases, their records, and messages of pycaffe's io."""

import tempfile
from pathlib import Path

import lmdb_pages
import numpy as np
from fuzz_images import encoded
from fuzz_target import FcnErrors, folder_with


def read_database(path):
    from fcn_repro.formats import datum
    from fcn_repro.formats.database import open_database
    with folder_with(path, 'db/data.mdb') as folder:
        reader = open_database(folder / 'db')
        for _, value in reader.records(0, min(len(reader), 300)):
            datum.decode(value)


DATA_LAYER = '''layer { name: "d" type: "Data" top: "data" top: "label"
  transform_param { force_color: true }
  data_param { source: "db" backend: LMDB batch_size: 3 } }'''


def read_data_layer(path):
    from fcn_repro.net import Net
    with folder_with(path, 'db/data.mdb') as folder:
        (folder / 'net.prototxt').write_text(DATA_LAYER)
        Net.read(folder / 'net.prototxt', 'TEST').forward()


def datum_values():
    from fcn_repro.formats import datum
    pixels = np.arange(3 * 5 * 4, dtype='u1').reshape(3, 5, 4)
    return [datum.encode(pixels, 3), datum.encode(pixels.astype('f4'), 1),
            datum.encode_file(encoded('PNG'), 2), datum.encode_file(encoded('JPEG'), 2)]


def database_seeds():
    small, (raw, floats, png, _) = [], datum_values()
    for records in ({b'%08d' % i: raw for i in range(200)}, {b'a': png, b'b': raw * 30},
                    {b'%d' % i: floats for i in range(3)}):
        with tempfile.TemporaryDirectory() as folder:
            lmdb_pages.database(Path(folder, 'db'), records)
            small.append(Path(folder, 'db/data.mdb').read_bytes())
    return small


def read_datum(path):
    from fcn_repro.formats import datum
    value = path.read_bytes()
    for colour, grey in (False, False), (True, False), (False, True):
        datum.decode(value, colour, grey)


def read_messages(path):
    """pycaffe's io: bytes of a BlobProtoVector and of a Datum."""
    from google.protobuf.message import DecodeError

    from fcn_repro.pycaffe import io
    value = path.read_bytes()
    try:
        io.datum_to_array(io.Datum.FromString(value))
    except DecodeError:                     # protobuf's own call, not ours
        pass
    except FcnErrors():
        pass
    io.blobprotovector_str_to_arraylist(value)


def message_seeds():
    from fcn_repro.pycaffe import io
    return [io.arraylist_to_blobprotovector_str([np.ones((2, 3)), np.ones((1, 2, 2, 2))]),
            io.array_to_datum(np.ones((3, 2, 2), 'u1'), 3).SerializeToString()]
