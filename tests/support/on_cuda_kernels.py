"""fcn-repro whose ops run csrc/cuda's kernels on the host in place of the CPU's:

    python -m on_cuda_kernels FOLDER COMMAND …      FOLDER: where they are compiled
"""

import sys
from pathlib import Path

from host_kernels import compile_backend, instead_of_cpu_kernels, load

from fcn_repro.cli.main import main

if __name__ == '__main__':
    backend = load(compile_backend(Path(sys.argv[1])))
    try:
        with instead_of_cpu_kernels():
            main(sys.argv[2:])
    finally:
        print(f'{backend.cuda_shim_launches()} launches')
