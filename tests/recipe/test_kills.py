"""tools/kills.py: what it promises, and that it finds a lock that does not hold."""

import re
import subprocess
import sys

import pytest
from small_runs import ROOT, start, wait

FAULT = '''
import sys
sys.path.insert(0, 'tools')
import kills
from fcn_repro import processes
processes.take_lock = lambda opened: True
kills.sys.argv = ['kills', '--count', '0', '--pairs', '2']
kills.main()
'''


@pytest.mark.slow
def test_200_kills_and_50_pairs(tmp_path):
    done = wait(start('kills', '--count', 200, '--pairs', 50, cwd=tmp_path), 1200)
    assert done.status == 0 and not done.err, done
    kills, pairs = done.out.splitlines()
    assert kills.startswith('200 kills of ') and kills.endswith('; 0 lost')
    found = [int(n) for n in re.findall(r'(\d+) (?:before|between|while|after)', kills)]
    assert sum(found) == 200 and min(found) > 0
    assert pairs.startswith('50 pairs') and pairs.endswith('; 0 mixed')
    assert '17 new, 17 resumed, 16 fresh' in pairs


@pytest.mark.slow
def test_a_lock_that_does_not_hold_is_found():
    done = subprocess.run([sys.executable, '-c', FAULT], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout.splitlines()[1].endswith('; 2 mixed'), done
