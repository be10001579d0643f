"""What to do about an error, in options of the command line and variables of make.

{code of an FcnError: text, or several}. {name} in a text is one of the error's facts. Of several
texts a command shows the first whose options it has; where none fits it shows the error's own
remedy, which speaks of Python. A test holds codes, facts and options against the package.
"""

REMEDIES: dict[str, str | tuple[str, ...]] = {
}
