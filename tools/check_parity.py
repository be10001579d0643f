"""Compare a net with Caffe blob by blob: `fcn-repro check-parity`."""

from functools import partial

from fcn_repro.cli.main import run_command

main = partial(run_command, 'check-parity')

if __name__ == '__main__':
    main()
