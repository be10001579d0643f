"""Label photographs: `fcn-repro infer`."""

from functools import partial

from fcn_repro.cli.main import run_command

main = partial(run_command, 'infer')

if __name__ == '__main__':
    main()
