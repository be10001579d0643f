"""Train a stage of the recipe: `fcn-repro train`."""

from functools import partial

from fcn_repro.cli.main import run_command

main = partial(run_command, 'train')

if __name__ == '__main__':
    main()
