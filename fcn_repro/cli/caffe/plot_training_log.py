"""Draw a chart of training logs, in Caffe's eight types:

{types}
"""

import argparse

from ...report.training_chart import CHARTS, plot_logs

__doc__ = __doc__.format(types='\n'.join(
    f'    {i}: {what} vs. {along}' for i, (what, along) in enumerate(CHARTS)))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('chart_type', type=int, metavar='CHART_TYPE', help='0 to 7')
    parser.add_argument('output', metavar='OUTPUT.png', help='a .png, .pdf or .svg file')
    parser.add_argument('logs', nargs='+', metavar='LOG', help='logs of Caffe or of fcn-repro')


def run(args: argparse.Namespace) -> None:
    plot_logs(args.chart_type, args.output, args.logs)
