"""Score a net on a folder laid out as PASCAL VOC: `fcn-repro eval`."""

from functools import partial

from fcn_repro.cli.main import run_command

main = partial(run_command, 'eval')

if __name__ == '__main__':
    main()
