"""The one error class of the project, and how a tool shows it."""

import difflib
import functools
import os
import sys

LONGEST = 2000                  # characters of a sentence; what quotes more is cut in the middle
NO_MEMORY = ('allocate memory', 'enough memory', 'out of memory', 'size calculation overflowed',
             'bad_alloc')       # what torch says


class FcnError(Exception):
    """Something the user can mend: what is wrong, where, and what to do.

    what: one sentence with both numbers (found, expected) where there are two.
    do: the remedy, one sentence in the words of the Python API: parameters, never options of a
    command line.
    code: a stable name of the fault ('run-stopped'), by which a front end looks up a remedy in its
    own words; facts: {name: value} that such a remedy may quote.
    file, line: where it stands in a text; line counts from 1.
    layer, type: the layer's name and its Caffe type.
    """

    def __init__(self, what, *, do='', code='', facts=None, file=None, line=None, layer=None,
                 type=None):
        self.what, self.do, self.file, self.line = short(what), short(do), file, line
        self.code, self.facts = code, dict(facts or {})
        self.layer, self.type = layer and short(layer, 200), type and short(type, 200)
        super().__init__(str(self))

    def __str__(self):
        where = ''
        if self.file is not None:
            where += f'{self.file}:{self.line}: ' if self.line else f'{self.file}: '
        if self.layer is not None:
            where += f"layer '{self.layer}'" + (f' ({self.type})' if self.type else '') + ': '
        text = where + self.what
        if self.do:
            text += ('' if text.endswith('.') else '.') + ' ' + self.do
        return text

    def at(self, *, file=None, line=None, layer=None, type=None):
        """A copy of this error, of its own class, with the places that it does not have yet."""
        return self.__class__(self.what, do=self.do, code=self.code, facts=self.facts,
                              file=self.file or file, line=self.line or line,
                              layer=self.layer or layer, type=self.type or type)


class located:
    """A with block in which an FcnError without a file gets this one, and the place of a node of
    it (line, layer, type); where memory runs out, an FcnError says so.
    """

    def __init__(self, file, node=None):
        self.file = file
        self.place = {} if node is None else {'line': node.line, 'layer': node.name,
                                              'type': node.type}

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, FcnError) and error.file is None:
            raise error.at(file=self.file, **({} if error.layer else self.place)) from None
        if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(
                words in str(error) for words in NO_MEMORY)):
            raise FcnError(f'there is not the memory for it: '
                           f'{str(error).partition(chr(10))[0]}',
                           do='Make the input or the net smaller, or free memory.',
                           file=self.file, **self.place) from error


def short(text, longest=LONGEST):
    """The text, or its beginning and end."""
    if len(text) <= longest:
        return text
    return f'{text[:longest // 2]} … ({len(text)} characters) … {text[-longest // 4:]}'


def nearest(name, known):
    """What to do about a name that is not known: the nearest one that is, in either case; or ''."""
    known = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), known, 1)
    return f"Did you mean '{known[near[0]]}'?" if near else ''


def tool(main):
    """Decorate a script's main: an FcnError becomes one line on stderr and exit status 1;
    where the reader of its output goes away, it ends with 141, as the signal would have it."""
    @functools.wraps(main)
    def run(*args, **kwargs):
        try:
            result = main(*args, **kwargs)
            sys.stdout.flush()
            return result
        except FcnError as error:
            print(f'error: {error}', file=sys.stderr)
            sys.exit(1)
        except KeyboardInterrupt:
            sys.exit(130)
        except BrokenPipeError:             # whoever reads the output has seen enough: `| head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)
    return run
