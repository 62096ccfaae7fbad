"""The page's section about the network that a build was made `--for`: layers, occupancy and roofline."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT, LEFT, BOTTOM, MARGIN = 520, 300, 62, 42, 24  # of the roofline, in pixels
COLOUR = "#3b6fb6"


def section(report: Mapping[str, Any]) -> str:
    """HTML of the network in a report; empty if it was not built for one."""
    if "network" not in report:
        return ""
    network, peak = report["network"], report["macs_per_cycle"]
    layers = network["layers"]
    cycles, clock = network["cycles"], report["config"]["clock_hz"]
    rows = "".join(_row(layer, cycles, peak) for layer in layers if layer["cycles"] > 10)
    busy = sum(layer["macs"] for layer in layers) / (cycles * peak)
    heads = "".join(f'<th class="n">{head}</th>' for head in ("binary MAC", "cycles", "of all", "occupancy"))
    return (
        f'<h2>Network {escape(network["model"])}</h2>'
        f"<p>{cycles:,} cycles per image: {1e3 * cycles / clock:.3f} ms at {clock / 1e6:g} MHz, {busy:.0%} of the "
        "array's peak. Cycles are the compiler's, the line to the host not counted.</p>"
        f'<div class="columns"><div><table><tr><th>layer</th><th>kernel</th><th>planes</th>{heads}<th></th></tr>{rows}'
        f'</table></div><div class="picture">{roofline(layers, report["config"], peak)}<br><small>Each layer at its '
        "binary MAC per weight bit. The slope is the weight memory's bandwidth, the roof the whole array.</small>"
        "</div></div>"
        + _frontier(network.get("frontier", ()))
    )


def _row(layer: Mapping[str, Any], cycles: int, peak: int) -> str:
    occupancy = layer["macs"] / (layer["cycles"] * peak)
    bar = f'<div class="bar" style="width:8rem"><i style="width:{occupancy:.1%};background:{COLOUR}"></i></div>'
    return (
        f'<tr><td>{escape(layer["name"])}</td><td>{escape(layer["kernel"])}</td><td>{escape(layer["planes"])}</td>'
        f'<td class="n">{layer["macs"]:,}</td><td class="n">{layer["cycles"]:,}</td>'
        f'<td class="n">{layer["cycles"] / cycles:.0%}</td><td class="n">{occupancy:.0%}</td><td>{bar}</td></tr>'
    )


def roofline(layers: Sequence[Mapping[str, Any]], config: Mapping[str, int], peak: int) -> str:
    """SVG of achieved MAC per cycle over MAC per weight bit, both axes logarithmic."""
    points = [
        (layer["macs"] / layer["weight_bits"], layer["macs"] / layer["cycles"], layer["name"])
        for layer in layers if layer["macs"] and layer["weight_bits"]
    ]
    if not points:
        return ""
    bandwidth = config["row_lanes"] * config["word"]  # weight bits per cycle
    low_x = 10 ** math.floor(math.log10(min(x for x, _, _ in points)))
    high_x = 10 ** math.ceil(math.log10(max(10 * low_x, peak / bandwidth, *(1.01 * x for x, _, _ in points))))
    low_y = 10 ** math.floor(math.log10(min(min(y for _, y, _ in points), low_x * bandwidth, peak / 10)))
    high_y = 10 ** math.ceil(math.log10(2 * peak))

    def at(x: float, y: float) -> tuple[float, float]:
        across, up = math.log(x / low_x) / math.log(high_x / low_x), math.log(y / low_y) / math.log(high_y / low_y)
        return LEFT + across * (WIDTH - LEFT - MARGIN), HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - MARGIN)

    shapes = [f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#f4f5f7"/>']
    for decade in range(round(math.log10(high_x / low_x)) + 1):
        x, _ = at(low_x * 10**decade, low_y)
        shapes.append(_line(x, MARGIN, x, HEIGHT - BOTTOM, "#dfe3e8"))
        shapes.append(_text(x, HEIGHT - BOTTOM + 15, low_x * 10**decade))
    for decade in range(round(math.log10(high_y / low_y)) + 1):
        _, y = at(low_x, low_y * 10**decade)
        shapes.append(_line(LEFT, y, WIDTH - MARGIN, y, "#dfe3e8") + _text(LEFT - 24, y + 4, low_y * 10**decade))
    corners = [at(x, min(peak, max(low_y, x * bandwidth))) for x in (low_x, max(low_x, peak / bandwidth), high_x)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    shapes.append(f'<polyline points="{path}" fill="none" stroke="#1d2733" stroke-width="1.6"/>')
    for x, y, name in points:
        across, up = at(x, y)
        end = across > WIDTH - 120
        shapes.append(
            f'<circle cx="{across:.1f}" cy="{up:.1f}" r="4" fill="{COLOUR}"/>'
            f'<text x="{across + (-7 if end else 7):.1f}" y="{up + 4:.1f}" font-size="11" '
            f'text-anchor="{"end" if end else "start"}">{escape(name)}</text>'
        )
    for transform, label in (
        (f"translate({(LEFT + WIDTH) / 2} {HEIGHT - 8})", "binary MAC per weight bit"),
        (f"translate(13 {HEIGHT / 2 - 10}) rotate(-90)", "binary MAC per cycle"),
    ):
        shapes.append(f'<text transform="{transform}" font-size="11" text-anchor="middle">{label}</text>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" '
            f'aria-label="roofline">{"".join(shapes)}</svg>')


def _frontier(choices: Sequence[Mapping[str, Any]]) -> str:
    """The configurations that a search found worth considering; the first was built."""
    if not choices:
        return ""
    names = ("M", "N", "row_lanes", "column_lanes", "word", "chain")
    figures = {"macs_per_cycle": "MAC/cycle", "luts": "LUT, estimated", "bram_kbits": "kbit", "cycles": "cycles"}
    heads = "".join(f'<th class="n">{head}</th>' for head in (*names, *figures.values()))
    rows = "".join(
        "<tr>" + "".join(f'<td class="n">{choice["config"][name]}</td>' for name in names)
        + "".join(f'<td class="n">{choice[name]:,}</td>' for name in figures)
        + "</tr>" for choice in choices
    )
    title = "<p>Configurations considered that no other beats in both LUTs and cycles:</p>"
    return f"{title}<table><tr>{heads}</tr>{rows}</table>"


def _line(x: float, y: float, to_x: float, to_y: float, colour: str) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, value: float) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="10" fill="#5b6673" text-anchor="middle">{value:,g}</text>'
