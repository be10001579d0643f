"""Line charts as SVG, both axes logarithmic."""

import math

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 230, 180, 44, 24, 8, 34
HEAD = 44


def chart(title, label, lines, colours):
    """One panel's SVG. lines: {name: [(x, y)]}, all above 0; '' where there are none."""
    points = [point for line in lines.values() for point in line]
    if not points:
        return ''
    place_x = scale([x for x, _ in points], LEFT, WIDTH - RIGHT)
    place_y = scale([y for _, y in points], HEIGHT - BOTTOM, TOP)
    parts = [f'<text x="{LEFT}" y="14" font-weight="bold">{title}</text>',
             f'<text x="{(LEFT + WIDTH) / 2:.0f}" y="{HEIGHT - 4}" text-anchor="middle">{label}'
             '</text>',
             f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" '
             f'height="{HEIGHT - TOP - BOTTOM}" fill="none" stroke="#ccc"/>']
    for x in sorted({x for x, _ in points}):
        parts.append(f'<text x="{place_x(x):.1f}" y="{HEIGHT - BOTTOM + 13}" '
                     f'text-anchor="middle">{short(x)}</text>')
    low, high = (math.log10(bound([y for _, y in points])) for bound in (min, max))
    for power in range(math.ceil(low), math.floor(high) + 1):
        y = place_y(10.0 ** power)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#eee"/><text '
                     f'x="{LEFT - 4}" y="{y + 3:.1f}" text-anchor="end">{10.0 ** power:g}</text>')
    for name, line in lines.items():
        path = ' '.join(f'{place_x(x):.1f},{place_y(y):.1f}' for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colours[name]}" '
                     'stroke-width="2"/>')
        parts += [f'<circle cx="{place_x(x):.1f}" cy="{place_y(y):.1f}" r="2.5" '
                  f'fill="{colours[name]}"/>' for x, y in line]
    return ''.join(parts)


def scale(values, start, end):
    """A function from a value to its place between start and end."""
    low, high = math.log(min(values)), math.log(max(values))
    room = 0.06 * (end - start)
    return lambda value: start + room + (end - start - 2 * room) * (
        (math.log(value) - low) / (high - low) if high > low else 0.5)


def short(x):
    return f'{x / 1000:.0f}k' if x >= 10000 else f'{x:g}'


def page(panels, colours, foot):
    """Rows of panels with a legend and a line of text, as one SVG."""
    columns = max(map(len, panels))
    width, height = WIDTH * columns, HEAD + HEIGHT * len(panels)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
             f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="10">',
             f'<rect width="{width}" height="{height}" fill="white"/>',
             f'<text x="{LEFT}" y="34">{foot}</text>']
    for i, (name, colour) in enumerate(colours.items()):
        parts.append(f'<rect x="{LEFT + 120 * i}" y="9" width="14" height="4" fill="{colour}"/>'
                     f'<text x="{LEFT + 18 + 120 * i}" y="15">{name}</text>')
    for i, row in enumerate(panels):
        parts += [f'<g transform="translate({WIDTH * j} {HEAD + HEIGHT * i})">{panel}</g>'
                  for j, panel in enumerate(row)]
    return '\n'.join([*parts, '</svg>', ''])
