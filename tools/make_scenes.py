"""Make scenes of handwritten digits: `fcn-repro make-scenes`."""

from functools import partial

from fcn_repro.cli.main import run_command

main = partial(run_command, 'make-scenes')

if __name__ == '__main__':
    main()
