"""${NAME} in prototxt files, which DeepLab's scripts replace before Caffe reads them."""

import re
from collections.abc import Mapping

from ..errors import FcnError

TOKEN = re.compile(r'#[^\n]*|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'|\$\{(\w*)\}|.', re.DOTALL)
PLACE = re.compile(r'\$\{(\w*)\}')
VALUE = re.compile(r'[^"\'\\\n\r#{}]*')


def defined(text: str, define: Mapping[str, object], file: str) -> str:
    """The text with each ${NAME} outside comments replaced by its value, inside strings too.

    FcnError, which lists all names without a value with their first lines, if there are any, and
    for a value that would change how the text around it is read.
    """
    if '${' not in text:
        return text
    for name, value in define.items():
        if not VALUE.fullmatch(str(value)):
            raise FcnError(f"the value of '{name}', {str(value)!r}, has a quote, a brace, a "
                           'comment or a line end', file=file,
                           do='Give a number or a plain word.')
    missing: dict[str, int] = {}

    def value(match: re.Match, start: int = 0) -> str:
        name = match[1]
        if name not in define:
            missing.setdefault(name, text.count('\n', 0, start + match.start()) + 1)
        return str(define.get(name, ''))

    def token(match: re.Match) -> str:
        found = match[0]
        if found[0] in '"\'':
            return PLACE.sub(lambda inner: value(inner, match.start()), found)
        return value(match) if match[1] is not None else found

    out = TOKEN.sub(token, text)
    if missing:
        line = min(missing.values())
        names = [f'${{{name}}} (line {at})' for name, at in missing.items()]
        raise FcnError('a name of the text has no value' if len(missing) == 1 else
                       f'{len(missing)} names of the text have no value', file=file, line=line,
                       items=names, code='undefined', facts={'name': next(iter(missing))},
                       do="Give them as define, such as {'" + next(iter(missing)) + "': …}.")
    return out
