"""Train all stages with their controls: `fcn-repro staged`."""

from functools import partial

from fcn_repro.cli.main import run_command

main = partial(run_command, 'staged')

if __name__ == '__main__':
    main()
