"""A command run in this process, as a user types it."""

import shlex

from fcn_repro.cli.main import main


def call(words, capsys):
    """(status, stdout, stderr) of a command; words: a line of a shell, or a list."""
    try:
        main(shlex.split(words) if isinstance(words, str) else [*map(str, words)])
        status = 0
    except SystemExit as end:
        status = end.code
    out, err = capsys.readouterr()
    return status, out, err
