"""The papers' numbers: one file, each with its source, and printed as they stand in it."""

import re
import tomllib
from pathlib import Path

import pytest

from fcn_repro.paper.catalogue import EXPERIMENTS
from fcn_repro.recipe.comparison import ROWS
from fcn_repro.report.paper import FILE, UNITS, seg11valid, shown, tables, titles

PACKAGE = Path(__file__).parents[2] / 'fcn_repro'


def test_every_table_is_whole():
    raw = tomllib.loads(FILE.read_text())
    assert set(raw) - {'sources', 'titles'} == set(tables())
    for table in tables().values():
        assert table.where and table.on and set(table.columns) <= set(UNITS)
        assert len({row.key for row in table.rows}) == len(table.rows)
        for row in table.rows:
            assert row.values and row.source.startswith(tuple(titles())), row
            percents = [value for column, value in row.values.items() if UNITS[column][1] == '%']
            assert all(0 < value < 100 for value in percents)


@pytest.mark.parametrize('name, key, values', [
    ('table1', 'googlenet', (42.5, 59, 22, 6e6, 907, 32)),
    ('table2', 'fcn8s', (90.3, 75.9, 62.7, 83.2)),
    ('table4', 'fcn16s-color-hha', (65.4, 46.1, 34.0, 49.5)),
    ('table5', 'fcn16s', (85.2, 51.7, 39.5, 76.1, 94.3)),
    ('table6-33', 'fcn8s', (71.8, 67.6, 53.5, 57.7)),
    ('appendix-a', '8', (96.4,))])
def test_rows(name, key, values):
    table = tables()[name]
    assert tuple(table.row(key).values[column] for column in table.columns) == values


def test_numbers_that_are_not_stated_are_none():
    """A dash where the source has none; 'about' where it says so."""
    sds = tables()['table3'].row('sds')
    assert [sds.text(column) for column in tables()['table3'].columns] == ['52.6', '51.6', '~50 s']
    released = tables()['released'].row('fcn8s')
    assert released.scores == (None, None, 65.5, None) and released.text('fw_iu') == '–'
    assert released.source == 'release'
    assert tables()['table2'].row('fcn8s-atonce') is None


def test_units():
    assert [shown('parameters', value) for value in (57e6, 134e6, 6e6)] == ['57M', '134M', '6M']
    assert shown('milliseconds', 175.2) == '175 ms' and shown('milliseconds', 1234) == '1.23 s'
    assert shown('mean_iu', 62.66) == '62.7' and shown('stride', 32) == '32'


def test_staged_rows_and_reports_have_these_numbers():
    assert [row.paper for row in ROWS if row.paper] == [45.4, 59.4, 62.4, 62.7, 65.4]
    assert [row.scores[2] for row in seg11valid()] == [45.4, 59.4, 62.4, 62.7, 63.6, 65.0, 65.5,
                                                       65.4, 48.0]


def test_no_module_has_a_number_of_its_own():
    """The scores of Tables 2 to 6 are written in the data file alone."""
    numbers = {f'{value:.1f}' for name in ('table2', 'table4', 'table5', 'table6-59', 'table6-33')
               for row in tables()[name].rows for value in row.values.values()}
    found = [(path.name, number) for path in [*PACKAGE.glob('paper/*.py'),
                                              PACKAGE / 'recipe/comparison.py']
             for number in numbers if re.search(rf'(?<![\d.]){re.escape(number)}(?![\d.])',
                                                path.read_text())]
    assert not found


def test_every_table_of_the_file_belongs_to_an_experiment():
    names = set(EXPERIMENTS) | {'released', 'table1-sbd', 'timing-ratio'}
    assert {name for name in tables() if not name.startswith('table6-')} <= names
