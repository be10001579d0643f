"""Remedies in the words of the command line: {code of an error: text}."""

REMEDIES = {
    'no-folder': 'Give another --out, or fix its permissions or the free space.',
}
