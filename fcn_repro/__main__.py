"""python -m fcn_repro: the command fcn-repro."""

from .cli.main import main

if __name__ == '__main__':
    main()
