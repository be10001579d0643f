"""The command fcn-repro: one file per subcommand, each with add_arguments(parser) and run(args).

Words of the command line (options, make variables) live here and in no other package.
"""
