"""One reader under atheris, which keeps the inputs that reach new lines of it.

    python tests/support/fuzz_coverage.py READER SECONDS FOLDER

Started by tools/fuzz.py --coverage. FOLDER gets the inputs that reach new lines, in corpus/, and
those that fail.
"""

import random
import sys
from pathlib import Path

import atheris

# The package's own readers; what they call in C is no line of Python.
INSTRUMENTED = ['fcn_repro.proto', 'fcn_repro.formats', 'fcn_repro.data', 'fcn_repro.net',
                'fcn_repro.layers', 'fcn_repro.report', 'fcn_repro.sniff']

with atheris.instrument_imports(include=INSTRUMENTED):
    import fuzz_mutations as mutations
    from fuzz_readers import READ, REFUSED, attempt, import_readers, limit_memory, seeds
    from fuzz_targets import TARGETS
    import_readers()


def main() -> None:
    reader, seconds, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    target, files, path = TARGETS[reader], seeds(reader), folder / 'input'
    with atheris.instrument_imports(include=INSTRUMENTED):
        path.write_bytes(files[0])
        attempt(target, path)
    (folder / 'corpus').mkdir(exist_ok=True)
    for i, data in enumerate(files):
        (folder / 'corpus' / f'seed-{i}').write_bytes(data)

    def one_input(data: bytes) -> None:
        path.write_bytes(data)
        outcome = attempt(target, path)
        if outcome not in (READ, REFUSED):
            raise AssertionError(outcome)

    def mutated(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if not target.change or rng.randrange(3) == 0:
            return atheris.Mutate(data, most)
        return rng.choice(target.change)(data, files, rng)[:most]

    atheris.Setup([sys.argv[0], str(folder / 'corpus'), f'-max_total_time={seconds}',
                   f'-max_len={mutations.MOST}', f'-artifact_prefix={folder}/', '-timeout=60',
                   '-rss_limit_mb=4096', '-print_final_stats=1'], one_input, custom_mutator=mutated)
    limit_memory()
    atheris.Fuzz()


if __name__ == '__main__':
    main()
