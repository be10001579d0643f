"""Turn a training log into tables, LOGFILE.train and LOGFILE.test, as comma-separated values."""

import argparse
from pathlib import Path

from ...report.caffelog import read_log, save_tables


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('logfile_path', help='the log')
    parser.add_argument('output_dir', help='the folder for the tables')
    parser.add_argument('--verbose', action='store_true', help='print what was written')
    parser.add_argument('--delimiter', default=',', help='between columns (default: %(default)s)')


def run(args: argparse.Namespace) -> None:
    paths = save_tables(read_log(args.logfile_path), Path(args.logfile_path).name,
                        args.output_dir, args.delimiter)
    for path in paths if args.verbose else ():
        print(f'Wrote {path}')
