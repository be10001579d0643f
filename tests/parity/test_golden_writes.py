"""check-goldens writes nothing: a golden may come from anywhere, and its net may name any file."""

import shutil

from goldens import DATA
from small_runs import call


def test_a_layer_that_writes_is_refused(tmp_path, capsys):
    planted = tmp_path / 'planted.h5'
    shutil.copytree(DATA / 'solvers/adadelta', tmp_path / 'goldens/adadelta')
    net = tmp_path / 'goldens/adadelta/train.prototxt'
    net.write_text(net.read_text() + 'layer { name: "out" type: "HDF5Output" bottom: "data" '
                   f'bottom: "label" hdf5_output_param {{ file_name: "{planted}" }} }}\n')
    done = call(capsys, 'check_goldens', tmp_path / 'goldens')
    assert done.status == 1 and "(HDF5Output): " in done.out + done.err, done
    assert str(planted) in done.out + done.err and not planted.exists()
