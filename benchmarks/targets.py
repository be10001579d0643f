"""What is to be reached, and what of it was: from the rows of a result to a short table."""

EAGER, SCORES, STEP = 'eager', 'FCN-8s scores', 'FCN-8s training step'
# (what, group, how the peers' ways begin, at least so many times ours)
CPU = [*((what, group, f'{peer}, {form}', least)
         for what, group, *peers in (
             ('op 1, forward', 'op 1 forward', ('dense', 50), ('depthwise', 12)),
             ('op 4, label map', 'op 4 labels', ('dense', 60), ('depthwise', 15)),
             ('op 5, loss and gradient', 'op 5 loss forward + backward', ('dense', 15),
              ('depthwise', 6)))
         for peer, least in peers for form in ('contiguous', 'channels-last')),
       ('op 2, learned, forward', 'op 2 forward', 'conv_transpose2d', 2),
       ('op 2, learned, with backward', 'op 2 forward + backward', 'conv_transpose2d', 3),
       ('FCN-8s, scores', SCORES, EAGER, 1.4),
       ('FCN-8s, scores', SCORES, 'OpenCV', 1.6),
       ('FCN-8s, training step', STEP, EAGER, 1.3)]
NAMES = {EAGER: 'the better eager'}
BF16, UPDATE = 1.7, 1.2
TOLD = 'stride', 'format', 'image', 'precision'        # of a case


def cases(rows, group):
    """{case: {way: row}} of a group, curves left out."""
    found = {}
    for row in rows:
        if row['group'] == group and 'curve' not in row:
            case = ', '.join(f'{k} {v}' for k, v in row['case'].items() if k in TOLD)
            found.setdefault(case, {})[row['way']] = row
    return found


def floor_share(ways):
    """The floor as a share of our time, in percent, or None."""
    floor = [row['ratio'] for way, row in ways.items() if way.startswith('floor')]
    return 100 * floor[0] if floor else None


def verdicts(rows):
    """One dict a target and case: what, against, case, wanted, reached, floor (percent), and
    verdict: met, NOT MET, or BELOW THE FLOOR, where the floor alone would take longer."""
    found = []

    def add(what, against, case, wanted, reached, met, ways, least=0):
        floor = floor_share(ways)
        verdict = 'met' if met else 'BELOW THE FLOOR' if floor and least > 100 / floor * reached \
            else 'NOT MET'
        found.append({'what': what, 'against': against, 'case': case, 'wanted': wanted,
                      'reached': reached, 'verdict': verdict, 'floor': floor})
    for what, group, prefix, least in CPU:
        for case, ways in cases(rows, group).items():
            peers = [row['ratio'] for way, row in ways.items() if way.startswith(prefix)]
            if peers:
                add(what, NAMES.get(prefix, prefix), case, f'>= {least}', min(peers),
                    min(peers) >= least, ways, least)
    for case, ways in cases(rows, 'op 6 SGD').items():
        reached = 100 / floor_share(ways)
        add('op 6, update', 'arrays read and written once', case, f'<= {UPDATE}', reached,
            reached <= UPDATE, ways)
    for case, ways in cases(rows, SCORES).items():
        if 'ours, bf16' in ways:
            reached = 1 / ways['ours, bf16']['ratio']
            add('FCN-8s, bf16', 'our float32', case, f'>= {BF16}', reached, reached >= BF16, ways)
    return found


def summary(rows):
    """The verdicts as text."""
    lines = [f'{"":30}{"against":31}{"case":34}{"wanted":>8}{"reached":>9}{"floor":>8}']
    for v in verdicts(rows):
        share = '' if v['floor'] is None else f'{v["floor"]:.0f} %'
        lines.append(f'{v["what"]:30}{v["against"]:31}{v["case"]:34}{v["wanted"]:>8}'
                     f'{v["reached"]:9.2f}{share:>8}  {v["verdict"]}')
    return '\n'.join([*lines, "floor: its share of our time; 'wanted' and 'reached' are times ours "
                      'for a peer, of the floor for op 6, of float32 for bf16. BELOW THE FLOOR: '
                      'the floor by itself takes longer than what is wanted'])
