"""Several processes train together what one trains alone; the end of one ends all."""

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import kill_workers
import numpy as np
import pytest
import several
import torch.distributed as dist
import train_several
from data_folders import save_palette_png
from PIL import Image
from small_runs import run, small_voc, write_stage

from fcn_repro import distributed
from fcn_repro.data.order import Share
from fcn_repro.distributed import ALONE, Watch, joined, status_of
from fcn_repro.errors import FcnError
from fcn_repro.formats.weights import read_weights
from fcn_repro.solver.gradients import buckets
from fcn_repro.solver.snapshot_files import list_snapshots

PROGRAM = several.ROOT / 'tests/support/train_several.py'


def start(size, folder, *words):
    return several.start(size, [PROGRAM, folder, *words], folder)


def ended(processes):
    """The printed lines, by rank, of processes that end well."""
    found = several.wait(processes)
    assert all(status == 0 for status, _, _ in found), found
    return [out.splitlines() for _, out, _ in found]


def reach(process, iteration):
    """Read the lines of a process up to an iteration."""
    for line in process.stdout:
        if line.startswith(f'{iteration} '):
            return


# ---- statistics of all processes' batches --------------------------------------------------------

def arrays(folder, size, batch):
    with np.load(folder / f'normed-{size}-{batch}.npz') as found:
        return dict(found)


def test_synchronised_statistics_are_those_of_one_large_batch(tmp_path):
    """Two processes of three images each are one of six: weights, histories, losses, and running
    statistics, one update of them an iteration. Without the field they are not."""
    small_voc(tmp_path / 'voc')
    ended(start(2, tmp_path, 'synchronised', 3))
    ended(start(1, tmp_path, 'synchronised', 6))
    two, one = arrays(tmp_path, 2, 3), arrays(tmp_path, 1, 6)
    assert two.keys() == one.keys() and {'a_bn 0', 'b_bn 1', 'b_scale 1', 'losses'} <= two.keys()
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-4, atol=1e-5, err_msg=name)
    (tmp_path / 'normed-2-3').rename(tmp_path / 'before')
    ended(start(2, tmp_path, 'synchronised', 3, 0, ''))
    apart = arrays(tmp_path, 2, 3)
    assert np.abs(apart['b_bn 0'] - one['b_bn 0']).max() > 0.01


def test_synchronised_statistics_want_passes_side_by_side(tmp_path):
    small_voc(tmp_path / 'voc')
    found = several.wait(start(2, tmp_path, 'synchronised', 2, 3))
    assert all(status == 1 for status, _, _ in found)
    said = ''.join(err for _, _, err in found)
    assert "layer 'a_bn' (BatchNorm)" in said and 'divides 3' in said


# ---- what each process does ----------------------------------------------------------------------

@pytest.mark.parametrize('size', [1, 2, 3, 4])
@pytest.mark.parametrize('passes', [4, 5, 7])
@pytest.mark.parametrize('origin', [0, 3])
def test_shares_make_all_passes_once(size, passes, origin):
    shares = [Share(rank, size, passes, origin) for rank in range(size)]
    taken = [k for share in shares
             for k in [origin + share.rank, *share.after(origin + share.rank, 40)]
             if k < origin + 3 * passes]
    assert sorted(taken) == list(range(origin, origin + 3 * passes))
    assert Share().after(7, 3) == [8, 9, 10]


def test_buckets_hold_every_number_once_the_last_parameter_first():
    found = buckets([5, 0, 2, 2, 9, 1, 1, 2, 1], most=4)
    assert [[tuple(piece) for piece in bucket] for bucket in found] == [
        [(8, 0, 1), (7, 0, 2), (6, 0, 1)], [(5, 0, 1)], [(4, 0, 4)], [(4, 4, 8)], [(4, 8, 9)],
        [(3, 0, 2), (2, 0, 2)], [(0, 0, 4)], [(0, 4, 5)]]
    assert buckets([0]) == []


@pytest.mark.parametrize('environment, words', [
    ({'WORLD_SIZE': '2'}, 'MASTER_ADDR'), ({'WORLD_SIZE': 'two'}, "'two'"),
    ({'WORLD_SIZE': '2', 'RANK': '2', 'MASTER_ADDR': 'localhost', 'MASTER_PORT': '1'}, 'RANK is 2'),
])
def test_a_wrong_environment_is_refused(monkeypatch, environment, words):
    for name in 'RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT':
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(FcnError, match=words) as caught, joined():
        pass
    assert caught.value.code == 'no-group'


def test_one_process_is_a_group_too(monkeypatch):
    monkeypatch.delenv('WORLD_SIZE', raising=False)
    with joined() as alone:
        assert alone.first and alone.size == 1 and not alone.told(FcnError('x'))
        assert alone.gather(3) == [3] and alone.add(3) == 3 and alone.in_order([5, 6], 2) == [5, 6]
        assert alone.by_first(lambda: 7) == 7 and alone.device() is None


# ---- training ------------------------------------------------------------------------------------

@pytest.mark.parametrize('size, names', [
    (2, ['plain', 'batchnorm', 'tested']), (4, ['clipped', 'plain', 'adam'])])
def test_n_processes_have_the_bits_of_one_at_iter_size_n(tmp_path, size, names):
    small_voc(tmp_path / 'voc')
    ended(start(size, tmp_path, 'train', *names))
    for name in names:
        folder = tmp_path / f'alone-{name}'
        folder.mkdir()
        (folder / 'voc').symlink_to(tmp_path / 'voc')
        solver = run(train_several.make(folder, train_several.CASES[name],
                                        iter_size_in_all=size))
        alone, together = train_several.result(solver), np.load(tmp_path / f'{name}-{size}.npz')
        assert alone.keys() == set(together.files)
        for key, value in alone.items():
            assert np.array_equal(value, together[key]), (name, key)
        mine, theirs = (sorted(list_snapshots(f / 'run', kind)) for f in
                        (folder, tmp_path / name) for kind in ['solverstate'])
        assert [p.name for p in mine] == [p.name for p in theirs] and mine


def test_two_passes_each_differ_from_one_process_in_rounding_alone(tmp_path):
    """The sums are taken in another order: 1e-5 after a few iterations."""
    small_voc(tmp_path / 'voc')
    ended(start(2, tmp_path, 'long', '', 8))
    together = tmp_path / 'run/train_iter_8.caffemodel.h5'
    alone = train_several.make(tmp_path, (('max_iter: 6', 'max_iter: 8'),),
                               iter_size_in_all=4, prefix=tmp_path / 'alone/train')
    run(alone)
    mine = {key: value.copy() for key, value in train_several.result(alone).items()}
    alone.net.copy_from(together)
    for key, value in train_several.result(alone).items():
        np.testing.assert_allclose(value, mine[key], rtol=1e-4, atol=1e-5)


def test_a_snapshot_is_restored_by_any_number_of_processes(tmp_path):
    small_voc(tmp_path / 'voc')
    alone = run(train_several.make(tmp_path, (('max_iter: 6', 'max_iter: 20'),
                                              ('snapshot: 3', 'snapshot: 10')),
                                   iter_size_in_all=4))
    wanted = [float(loss) for loss in alone.losses]
    state = tmp_path / 'run/train_iter_10.solverstate.h5'
    for size in 4, 3:
        out, *_ = ended(start(size, tmp_path, 'long', state, 20))
        found = [float(line.split()[1]) for line in out if not line.startswith('ended')][-4:]
        if size == 4:
            assert found == wanted
        else:
            assert found == pytest.approx(wanted, rel=1e-3)


def test_more_processes_than_passes_are_refused(tmp_path):
    small_voc(tmp_path / 'voc')
    for status, _, err in several.wait(start(5, tmp_path, 'long')):
        assert status == 1 and err.startswith('error: ') and '5 processes for the 4 passes' in err


def test_a_signal_to_one_stops_all_after_one_iteration(tmp_path):
    small_voc(tmp_path / 'voc')
    processes = start(2, tmp_path, 'long')
    reach(processes[0], 3)
    processes[1].send_signal(signal.SIGTERM)
    first, second = ended(processes)
    assert first[-1] == second[-1] and first[-1].endswith('True')
    states = list_snapshots(tmp_path / 'run', 'solverstate')
    assert states[-1].name == f'train_iter_{first[-1].split()[1]}.solverstate.h5'


# ---- the end of one ------------------------------------------------------------------------------

# ---- who has died --------------------------------------------------------------------------------

def judge(monkeypatch, signs, grace):
    """What rank 0 of three finds to have ended: signs, {look: (signs of life of 1 and 2)}, what it
    reads from that look on; grace: looks within GRACE. And after how many looks."""
    looks, store = iter(range(1000)), dist.HashStore()
    now = [0]

    def look(*_):
        now[0] = next(looks)
        for rank, sign in enumerate(signs.get(now[0], ()), 1):
            store.set(f'alive {rank}', str(sign))

    look()
    monkeypatch.setattr(distributed.time, 'sleep', look)
    monkeypatch.setattr(distributed.time, 'monotonic', lambda: float(now[0]))
    monkeypatch.setattr(distributed, 'GRACE', float(grace))
    watch = Watch.__new__(Watch)
    watch.store, watch.end, watch.places = store, None, ['here', 'there', 'yonder']
    watch.group = SimpleNamespace(rank=0, size=3)
    return watch.wait(), now[0]


@pytest.mark.parametrize('signs, grace, dead, looks', [
    ({0: (1, 1), 2: (1, 2)}, 1000, 1, 4),           # one silent: four looks are enough
    ({0: (1, 1), 9: (2, 1)}, 20, 2, 9),             # two silent, one of them waited for a processor
    ({0: (1, 1)}, 20, 1, 21),                       # both silent to the end: the first
])
def test_who_of_several_silent_processes_died(monkeypatch, signs, grace, dead, looks):
    end, after = judge(monkeypatch, signs, grace)
    assert (end.rank, end.place) == (dead, ['here', 'there', 'yonder'][dead])
    assert 'killed' in end.text and after == looks


def test_nobody_has_died_where_all_show_signs_of_life(monkeypatch):
    assert judge(monkeypatch, {0: (1, 1), 1: (2, 2)}, 20) == (None, 4)


def test_a_killed_process_ends_the_others(tmp_path):
    """An exchange with it would be waited for for a day."""
    small_voc(tmp_path / 'voc')
    processes = start(3, tmp_path, 'long')
    reach(processes[0], 3)
    os.kill(processes[2].pid, signal.SIGKILL)
    (first, _, err), (second, _, _), (third, _, _) = several.wait(processes)
    assert (first, second, third) == (1, 1, -signal.SIGKILL)
    assert err.startswith('error: process 0 of 3 stops, as process 2 ('), err
    assert f'pid {processes[2].pid}) ended: it was killed' in err


def test_the_error_of_one_is_what_the_others_quote(tmp_path):
    """One label is of a class that the net has not: the process that reads it says so."""
    voc = small_voc(tmp_path / 'voc')
    ids = (voc / 'ImageSets/Segmentation/train.txt').read_text().split()
    path = voc / f'SegmentationClass/{ids[1]}.png'
    label = np.array(Image.open(path))
    label[5, 5] = 77
    save_palette_png(label, path)
    found = several.wait(start(2, tmp_path, 'long'))
    assert [status for status, _, _ in found] == [1, 1]
    own = [err for _, _, err in found if '77' in err and ' stops, as ' not in err]
    quoting = [err for _, _, err in found if ' stops, as process ' in err]
    assert len(own) + len(quoting) == 2 and own, found
    assert all('77' in err for err in quoting), found


def test_an_end_with_gradients_on_the_way_is_orderly(tmp_path):
    """No abort of a thread that is still inside of an exchange; the end is that of the error."""
    small_voc(tmp_path / 'voc')
    (status, out, err), (other, _, quoting) = several.wait(start(2, tmp_path, 'leave'))
    assert (status, out, err) == (1, '', 'error: this one leaves\n')
    assert other == 1 and 'ended: this one leaves.' in quoting and 'terminate' not in quoting


@pytest.mark.parametrize('error, status', [
    (KeyboardInterrupt(), 130), (FcnError('x'), 1), (SystemExit(), 0), (SystemExit(3), 3),
    (SystemExit('text'), 1)])
def test_the_status_of_an_end(error, status):
    assert status_of(error) == status
    done = subprocess.run([sys.executable, '-c', 'import atexit, fcn_repro.distributed as d\n'
                           f'atexit.register(d.end_now, {status}); print("said")'],
                          capture_output=True, text=True, cwd=several.ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (status, 'said\n', '')


def test_other_weights_in_one_process_are_found(tmp_path):
    """All processes have to start from one state."""
    small_voc(tmp_path / 'voc')
    run(train_several.make(tmp_path, (('max_iter: 6', 'max_iter: 10'),
                                      ('snapshot: 3', 'snapshot: 10')), iter_size_in_all=4))
    state = tmp_path / 'run/train_iter_10.solverstate.h5'
    port, processes = str(several.free_port()), []
    for rank, words in enumerate((['long', state], ['long'])):
        processes += several.start(2, [PROGRAM, tmp_path, *words], tmp_path, MASTER_PORT=port,
                                   ranks=[rank])
    for status, _, err in several.wait(processes):
        assert status == 1 and 'process 1 starts from other weights' in err, err


# ---- evaluation ----------------------------------------------------------------------------------

def test_evaluation_counts_the_same_to_the_last_pixel(tmp_path):
    voc = small_voc(tmp_path / 'voc', count=7)
    (voc / 'ImageSets/Segmentation/val.txt').write_text('im0\nim1\nim2\nim3\nim4\n')
    write_stage(tmp_path / 'net', voc)
    train_several.score(tmp_path, ALONE, 'alone')
    ended(start(3, tmp_path, 'score', 'together'))
    alone, together = (json.loads((tmp_path / name / 'metrics.json').read_text())
                       for name in ('alone', 'together'))
    for name in alone.keys() - {'median_seconds', 'seconds', 'peak_memory'}:
        assert alone[name] == together[name], name
    for path in sorted((tmp_path / 'alone').rglob('*.png')):
        other = tmp_path / 'together' / path.relative_to(tmp_path / 'alone')
        assert path.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_a_run_of_which_all_processes_are_killed_at_once_is_restored_to_the_same_bits(tmp_path):
    """A machine goes down: nothing is left that could end in order, or restart."""
    small_voc(tmp_path / 'voc')
    for name in 'undisturbed', 'killed':
        (tmp_path / name).mkdir()
        (tmp_path / name / 'voc').symlink_to(tmp_path / 'voc')
    ended(start(2, tmp_path / 'undisturbed', 'long', '', 60))
    processes = start(2, tmp_path / 'killed', 'long', '', 60)
    reach(processes[0], 40)
    for process in processes:
        process.kill()
    assert [status for status, _, _ in several.wait(processes)] == [-signal.SIGKILL] * 2
    newest = list_snapshots(tmp_path / 'killed/run', 'solverstate')[-1]
    assert '_iter_60.' not in newest.name
    ended(start(2, tmp_path / 'killed', 'long', newest, 60))
    files = [tmp_path / name / 'run/train_iter_60.caffemodel.h5'
             for name in ('undisturbed', 'killed')]
    one, other = map(read_weights, files)
    assert one.keys() == other.keys() and all(
        np.array_equal(a, b) for name in one for a, b in zip(one[name], other[name], strict=True))


@pytest.mark.slow
def test_killed_processes_that_torchrun_restarts_end_with_the_undisturbed_weights(tmp_path):
    at_random, in_sums, _, equal = kill_workers.compare(tmp_path, kills=6, until=240)
    assert equal and at_random == 3 and in_sums
