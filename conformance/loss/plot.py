"""The figure of `measure.py`, as SVG by hand: delivery times at p50 and p99, and packets per delivery, for each loss and transport."""

COLOURS = {"tcp": "#6b7280", "udp": "#c2410c", "udp-newest": "#0f766e"}
NAMES = {"tcp": "TCP", "udp": "UDP, repair", "udp-newest": "UDP, newest only"}
WIDTH, HEIGHT, TOP, LEFT, PANEL = 860, 330, 56, 48, 240


def plot(rows, losses, modes):
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">']
    parts.append(f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>')
    for at, mode in enumerate(modes):
        parts.append(f'<rect x="{LEFT + at * 150}" y="14" width="12" height="12" fill="{COLOURS[mode]}"/>')
        parts.append(f'<text x="{LEFT + at * 150 + 18}" y="24">{NAMES[mode]}</text>')
    for at, (key, title) in enumerate([("p50", "p50, ms"), ("p99", "p99, ms"), ("packets", "packets a delivery")]):
        parts += panel(LEFT + at * (PANEL + 36), key, title, rows, losses, modes)
    return "\n".join([*parts, "</svg>\n"])


def panel(left, key, title, rows, losses, modes):
    bottom, tall = HEIGHT - 40, HEIGHT - 40 - TOP - 16
    top_value = max(row[key] for row in rows) * 1.1
    yield f'<text x="{left}" y="{TOP}" font-weight="bold">{title}</text>'
    yield f'<line x1="{left}" y1="{bottom}" x2="{left + PANEL}" y2="{bottom}" stroke="#111"/>'
    group, bar = PANEL / len(losses), PANEL / len(losses) / (len(modes) + 1)
    for place, loss in enumerate(losses):
        yield f'<text x="{left + group * (place + 0.5):.0f}" y="{bottom + 18}" text-anchor="middle">{loss:.0%} loss</text>'
        for at, mode in enumerate(modes):
            row = next(row for row in rows if row["mode"] == mode and row["loss"] == loss)
            height, x = tall * row[key] / top_value, left + group * place + bar * (at + 0.5)
            yield f'<rect x="{x:.1f}" y="{bottom - height:.1f}" width="{bar - 3:.1f}" height="{height:.1f}" fill="{COLOURS[mode]}"/>'
            shown = f"{row[key]:.2f}" if key == "packets" else f"{row[key]:.0f}"
            yield f'<text x="{x + bar / 2 - 1.5:.1f}" y="{bottom - height - 4:.1f}" text-anchor="middle" font-size="10">{shown}</text>'
