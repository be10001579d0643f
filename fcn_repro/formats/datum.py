"""Caffe's Datum: the message that one record of a database holds, an image and its label."""

import io

import numpy as np
from google.protobuf.message import DecodeError

from ..data.image import open_image
from ..data.listed import pixels
from ..errors import FcnError
from ..proto import BVLC
from ..sizes import dims

Datum = BVLC['Datum']
PICTURES = b'\xff\xd8\xff', b'\x89PNG'      # how JPEG and PNG files begin


def decode(value: bytes, force_color: bool = False,
           force_gray: bool = False) -> tuple[np.ndarray, int | None]:
    """The (C, H, W) array of a Datum's bytes, uint8 BGR or, of float_data, float32; and its label,
    None where it has none.

    An encoded image is decoded with the channels that it has, or with three (force_color) or one
    (force_gray); transparency is a fourth where neither is asked for. FcnError for what is no
    Datum, and for data that do not fit.
    """
    try:
        datum = Datum.FromString(value)
    except DecodeError:
        raise FcnError('is not a Datum', do='Write the database with convert_imageset, or its '
                       'values as Datum messages.') from None
    label = datum.label if datum.HasField('label') else None
    if datum.encoded:
        color = True if force_color else False if force_gray else None
        try:
            image, _ = open_image(io.BytesIO(datum.data), 'encoded image')
        except FcnError as error:
            raise error if error.code else error.with_remedy(
                'Write it again from a whole file; or with encoded: false if its data are '
                'pixels.') from None
        return pixels(image, color), label
    shape = datum.channels, datum.height, datum.width
    count = len(datum.data) or len(datum.float_data)
    if min(shape) < 1 or count != shape[0] * shape[1] * shape[2]:
        raise FcnError(f'a Datum of {dims(shape)} (channels, height, width) holds {count} values',
                       do='Set encoded: true in it: its data are those of an image file.'
                       if datum.data.startswith(PICTURES) else 'Write the database again.')
    if datum.data:
        return np.frombuffer(datum.data, np.uint8).reshape(shape), label
    return np.array(datum.float_data, np.float32).reshape(shape), label


def is_encoded(value: bytes) -> bool:
    """Whether the bytes of a Datum hold an image file."""
    return Datum.FromString(value).encoded


def encode(array: np.ndarray, label: int) -> bytes:
    """The bytes of a Datum of a (C, H, W) array: its bytes where that is uint8, else floats."""
    channels, height, width = array.shape
    datum = Datum(channels=channels, height=height, width=width, label=label)
    if array.dtype == np.uint8:
        datum.data = array.tobytes()
    else:
        datum.float_data.extend(array.ravel().tolist())
    return datum.SerializeToString()


def encode_file(file: bytes, label: int) -> bytes:
    """The bytes of an encoded Datum of an image file's bytes, as Caffe's ReadFileToDatum."""
    return Datum(data=file, label=label, encoded=True).SerializeToString()
