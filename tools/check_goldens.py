"""Compare with every golden below a folder: `fcn-repro check-goldens`."""

from functools import partial

from fcn_repro.cli.main import run_command

main = partial(run_command, 'check-goldens')

if __name__ == '__main__':
    main(own_process=True)
