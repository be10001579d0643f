"""docs/troubleshooting.md: each message that it quotes is one of the program's."""

import ast
import re

import pytest
from small_runs import ROOT

PAGE = (ROOT / 'docs/troubleshooting.md').read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith('| ') and 'what you see' not in line]
OTHERS = 'message)'          # of Python, a compiler or torch: not ours to look for
QUOTED = [(quote, line) for line in ROWS if OTHERS not in (cell := line.split(' | ')[0])
          for quote in re.findall(r'`([^`]+)`', cell)]


def texts():
    """The strings of the sources, what is computed in them as '\0'."""
    for path in [*(ROOT / 'fcn_repro').rglob('*.py'), ROOT / 'setup.py']:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield ''.join(part.value if isinstance(part, ast.Constant) else '\0'
                              for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


STRINGS = list(texts())


@pytest.mark.parametrize('quote', [quote for quote, _ in QUOTED])
def test_the_message_is_in_the_sources(quote):
    pattern = re.compile('.*'.join(re.escape(part.strip()) for part in quote.split('…')), re.S)
    assert any(pattern.search(text) for text in STRINGS), quote


def test_every_symptom_has_a_cause_and_a_remedy():
    assert len(QUOTED) > 25 and len(ROWS) > 35
    for row in ROWS:
        cells = [cell.strip() for cell in re.split(r'(?<!\\)\|', row.strip('|'))]
        assert len(cells) == 3 and all(cells), row
