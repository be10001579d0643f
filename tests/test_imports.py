"""What importing the package costs: heavy packages are imported where they are first needed."""

import subprocess
import sys

import pytest
from goldens import DATA

ROOT = DATA.parents[1]


@pytest.mark.parametrize('modules, absent', [
    ('fcn_repro', ('torch', 'numpy', 'google.protobuf', 'scipy', 'h5py')),
    ('fcn_repro.solver, fcn_repro.pycaffe, fcn_repro.recipe.training, fcn_repro.predict.labels',
     ('scipy', 'h5py')),
])
def test_heavy_packages_are_not_imported(modules, absent):
    code = f'import sys, {modules}; print(*(m for m in {absent} if m in sys.modules))'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True,
                          check=True)
    assert done.stdout.strip() == ''
