"""What to do about an error, in options of the command line and variables of make.

{code of an FcnError: text, or several}. {name} in a text is one of the error's facts. Of several
texts a command shows the first whose options it has; where none fits it shows the error's own
remedy, which speaks of Python. Another command stands in backticks, `fcn-repro train {stage}`, with
its options; what make does instead in parentheses, (make: RESTORE=1), which an installed package
leaves out. A test compares codes, facts, commands and options with the package.
"""

REMEDIES: dict[str, str | tuple[str, ...]] = {
    'no-folder': 'Give another --out, or fix its permissions or the free space.',
}
