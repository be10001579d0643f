"""Names from data stay inside their folder."""

import pytest

from fcn_repro.errors import FcnError
from fcn_repro.paths import LONGEST_NAME, confined


@pytest.mark.parametrize('name, path', [
    ('2007_000033', 'd/2007_000033'), ('2007/abc.png', 'd/2007/abc.png'), ('a/../b', 'd/b'),
    ('./a', 'd/a'), ('..a', 'd/..a'), ('{}', 'd/{}'), ('{0.__class__}', 'd/{0.__class__}'),
    ('~root', 'd/~root'), ('a b', 'd/a b'), ('日本/é', 'd/日本/é'), ('-rf', 'd/-rf'),
    ('x' * LONGEST_NAME, 'd/' + 'x' * LONGEST_NAME)])
def test_names_inside(name, path):
    assert str(confined('d', name, 'id')) == path


@pytest.mark.parametrize('name, why', [
    ('', 'empty'), ('  ', 'empty'), ('/etc/passwd', 'absolute'), ('//x', 'absolute'),
    ('..', 'leaves'), ('../x', 'leaves'), ('a/../../x', 'leaves'), ('./../x', 'leaves'),
    ('.', 'names a folder'), ('a/..', 'names a folder'),
    ('a\0b', 'control'), ('a\nb', 'control'), ('a\x1b[2Jb', 'control'), ('a\x9bb', 'control'),
    ('x' * (LONGEST_NAME + 1), '256 bytes'), ('é' * 128, '256 bytes'), ('a/' * 3000, 'path of'),
    ('\ud800', 'character'), (5, 'no text'), (None, 'no text'), ({'a': 1}, 'no text')])
def test_names_outside(name, why, tmp_path):
    with pytest.raises(FcnError, match=why) as info:
        confined(tmp_path, name, 'id', file='val.txt', line=3)
    assert (info.value.file, info.value.line) == ('val.txt', 3)
    assert str(info.value).startswith('val.txt:3: the id ') and str(info.value).isprintable()


def test_the_owners_links_are_followed(tmp_path):
    """A data set whose images lie on another disk is common; what a name may not is climb."""
    (tmp_path / 'disk').mkdir()
    (tmp_path / 'disk' / 'a.png').write_bytes(b'x')
    (tmp_path / 'set').mkdir()
    (tmp_path / 'set' / 'images').symlink_to(tmp_path / 'disk')
    assert confined(tmp_path / 'set', 'images/a.png', 'id').read_bytes() == b'x'
    assert confined(tmp_path / 'set', 'images/../b', 'id') == tmp_path / 'set' / 'b'
