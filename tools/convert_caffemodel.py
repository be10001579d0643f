"""Convert a caffemodel to HDF5 and back: `fcn-repro convert`."""

from functools import partial

from fcn_repro.cli.main import run_command

main = partial(run_command, 'convert')

if __name__ == '__main__':
    main()
