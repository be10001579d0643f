"""What to do about an error, in options of the command line and variables of make."""

REMEDIES: dict[str, str | tuple[str, ...]] = {
    'no-such-device': 'Use --device cpu, another GPU, or a torch built for CUDA.',
    'gpu-precision': 'Use fp32 or bf16, or --device cuda.',
    'bad-keep': 'Give --keep 1 or more.',
    'no-room': 'Free space, keep fewer snapshots (--keep N), or write elsewhere; nothing was '
               'written, and earlier snapshots are untouched.',
    'changed-since': 'Restore with those, or give --force to continue with the new ones:\n'
                     '{changes}',
    'diverged': 'Lower base_lr ({base_lr}; --restore with another needs --force), or check the '
                'data and the weights; the latest snapshot is untouched.',
}
