"""JSON files of annotations: read as text of a form that is checked where it is used."""

import json
import math
from pathlib import Path
from typing import Any

from fcn_repro.errors import FcnError
from fcn_repro.files import open_regular, read_regular

HEAD = 2 ** 16          # bytes in which the first keys of a file are


def read_json(path: Path, what: str) -> dict[str, Any]:
    """The object in a JSON file; FcnError for what is none."""
    data = read_regular(path, what)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FcnError(f'it is no JSON: {str(error) or "nested too deeply"}', file=path,
                       do=f'Give {what}.') from None
    if not isinstance(found, dict):
        raise FcnError(f'it holds a {type(found).__name__}, not an object', file=path,
                       do=f'Give {what}.')
    return found


def head_of(path: Path) -> bytes:
    """The first bytes of a file, without spaces between keys; b'' where it cannot be read."""
    try:
        with open_regular(path, 'a JSON file') as file:
            return file.read(HEAD)
    except FcnError:
        return b''


def listed(found: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    """The objects in a list of an object; FcnError where there is no such list."""
    rows = found.get(key)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise FcnError(f"'{key}' is no list of objects", file=path, do='Export it again.')
    return rows


def pixels_of(row: dict[str, Any], path: Path) -> tuple[int, int] | None:
    """(height, width) as an object tells, None where it does not; FcnError for other values."""
    height, width = (row.get(key) for key in ('height', 'width'))
    if height is None or width is None:
        return None
    if type(height) is not int or type(width) is not int or height < 1 or width < 1:
        raise FcnError(f'an image has height {height!r} and width {width!r}', file=path,
                       do='Export it again.')
    return height, width


def points_of(values: Any) -> list[tuple[float, float]]:
    """Points from [x, y, x, y, …] or [[x, y], …]; ValueError for anything else."""
    if not isinstance(values, list):
        raise ValueError(f'{type(values).__name__} in place of points')
    if values and isinstance(values[0], list):
        values = [number for point in values for number in point[:2]]
    numbers = [float(number) for number in values]
    if len(numbers) % 2 or not all(math.isfinite(n) and abs(n) < 1e6 for n in numbers):
        raise ValueError('points that are no pairs of numbers')
    return list(zip(numbers[::2], numbers[1::2], strict=True))
