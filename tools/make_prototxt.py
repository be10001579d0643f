"""Write the prototxt folders: `fcn-repro make-prototxt`."""

from functools import partial

from fcn_repro.cli.main import run_command

main = partial(run_command, 'make-prototxt')

if __name__ == '__main__':
    main()
