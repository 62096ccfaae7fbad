"""`report.html`: the report of a build as one page for a person, without any other file."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from html import escape
from typing import Any

from hw.arch.config import Config

from . import network

PALETTE = (
    "#3b6fb6", "#e08a2e", "#4c9f70", "#b5495b", "#7d5ba6", "#2fa3a3", "#c2a83e", "#8c6d5a", "#5f7f2f", "#d070a8",
    "#476a86", "#a05a2c",
)
OTHER = "#a9b0b8"
UNITS = {"luts": "LUT", "ffs": "flip-flops", "bram_kbits": "block RAM kbit", "multipliers": "multipliers"}
STYLE = """
body{font:15px/1.5 system-ui,"DejaVu Sans",sans-serif;color:#1d2733;background:#fff;margin:0 auto;max-width:1080px;
padding:2rem 1.5rem 4rem}
h1{font-size:1.6rem;margin:0}h2{font-size:1.1rem;margin:2.2rem 0 .6rem;border-bottom:1px solid #dfe3e8}
.sub{color:#5b6673;margin:.2rem 0 1.2rem}.badge{border-radius:1em;color:#fff;font-size:.85rem;padding:.15em .8em}
.good{background:#2e7d4f}.bad{background:#b3261e}.plain{background:#5b6673}
.figures{display:flex;flex-wrap:wrap;gap:.8rem;margin:1.2rem 0}
.figure{background:#f4f5f7;border-radius:.5rem;padding:.7rem 1.1rem;min-width:8.5rem}
.figure b{display:block;font-size:1.35rem;font-variant-numeric:tabular-nums}.figure span{color:#5b6673;font-size:.85rem}
table{border-collapse:collapse;font-size:.9rem}td,th{padding:.2rem .9rem .2rem 0;text-align:left;vertical-align:top}
th{color:#5b6673;font-weight:500}.n{text-align:right;font-variant-numeric:tabular-nums}
.bar{background:#e9ecef;border-radius:3px;display:flex;height:14px;overflow:hidden;width:22rem}.bar i{display:block}
.wide{height:26px;width:100%}.key{border-radius:2px;display:inline-block;height:.8em;margin-right:.5em;width:.8em}
.columns{display:flex;gap:2rem;margin-top:.8rem}.columns>div{flex:1 1 auto}.columns>.picture{flex:0 1 27rem}
.error{background:#fbeae9;border-left:4px solid #b3261e;padding:.7rem 1rem}
svg{height:auto;max-width:100%}small{color:#5b6673}code{font-size:.9em}
"""


def colours(report: Mapping[str, Any]) -> dict[str, str]:
    """A colour for each of the largest blocks, those on the slowest path included."""
    names = [stage["block"] for stage in report.get("path", [])] + list(report.get("blocks", {}))
    return dict(zip(dict.fromkeys(names), PALETTE, strict=False))


def page(report: Mapping[str, Any], picture: str) -> str:
    """The page for a report of `hw.build`; `picture` is the placement as SVG, or empty."""
    shades = colours(report)
    sections = [
        _head(report), _figures(report), network.section(report), _resources(report), _blocks(report, shades, picture),
        _timing(report, shades), _configuration(report), _seconds(report),
    ]
    title = escape(f"{report['board']} {report['configuration']}")
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title} - Abacus build</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n<body>'
        + "\n".join(section for section in sections if section) + "\n</body></html>\n"
    )


def _head(report: Mapping[str, Any]) -> str:
    status = report["status"]
    kind = {"routed": "good", "synthesised": "plain"}.get(status, "bad")
    label = "routed, timing met" if status == "routed" else status
    text = (
        f'<h1>{escape(report["configuration"])} on {escape(report["board"])} {escape(report["variant"])} '
        f'<span class="badge {kind}">{escape(label)}</span></h1>'
        f'<p class="sub">{escape(report["part"])}, seed {report["seed"]}, UART {report["baud"]:,} baud, '
        f'configuration <code>{report["config_digest"]}</code></p>'
    )
    if "error" in report:
        text += f'<p class="error">{escape(report["error"])}</p>'
    return text


def _figures(report: Mapping[str, Any]) -> str:
    clock = report["config"]["clock_hz"]
    peak = 2 * report["macs_per_cycle"] * clock / 1e12
    figures = [
        (f"{report['macs_per_cycle']:,}", "binary MAC per cycle"),
        (f"{clock / 1e6:g} MHz", "core clock"),
        (f"{peak:.3g} TOPS", "binary peak at this clock"),
    ]
    if "timing" in report:
        worst = min(report["timing"], key=lambda clock: clock["achieved"] / clock["required"])
        figures.append((f"{worst['achieved']:.1f} MHz", "routed, the router's estimate"))
    if luts := report.get("lut6") or report.get("synthesis", {}).get("luts"):
        figures.append((f"{luts / report['macs_per_cycle']:.2f}", "LUT per MAC/cycle"))
    cells = "".join(f'<div class="figure"><b>{value}</b><span>{what}</span></div>' for value, what in figures)
    return f'<div class="figures">{cells}</div>'


def _resources(report: Mapping[str, Any]) -> str:
    if "synthesis" not in report:
        return ""
    rows = []
    for name, unit in UNITS.items():
        used, limit = report["synthesis"][name], report["available"][name]
        share = used / limit
        colour = "#b3261e" if share > 1 else "#e08a2e" if share > 0.85 else "#3b6fb6"
        rows.append(
            f'<tr><td>{unit}</td><td class="n">{used:,}</td><td class="n">of {limit:,}</td>'
            f'<td class="n">{share:.1%}</td><td>{_bar([(min(share, 1), colour, "")])}</td></tr>'
        )
    lut6 = report.get("lut6")
    note = f"<small>With pairs of functions sharing a LUT6: {lut6:,}.</small>" if lut6 else ""
    return f"<h2>Resources after synthesis</h2><table>{''.join(rows)}</table>{note}"


def _blocks(report: Mapping[str, Any], shades: Mapping[str, str], picture: str) -> str:
    blocks = report.get("blocks")
    if not blocks:
        return ""
    total = sum(usage["luts"] for usage in blocks.values()) or 1
    parts = [(usage["luts"] / total, shades.get(name, OTHER), name) for name, usage in blocks.items()]
    heads = "".join(f'<th class="n">{unit}</th>' for unit in UNITS.values())
    rows = "".join(
        f"<tr><td>{_key(name, shades)}</td>" + "".join(f'<td class="n">{usage[unit]:,}</td>' for unit in UNITS)
        + f'<td class="n">{usage["luts"] / total:.1%}</td></tr>'
        for name, usage in blocks.items()
    )
    return (
        f"<h2>Blocks{' and placement' if picture else ''}</h2>{_bar(parts, 'wide')}"
        f'<div class="columns"><div><table><tr><th>block</th>{heads}<th class="n">of all LUT</th></tr>{rows}</table>'
        "<small>Logic made by optimisation counts for the block it feeds.</small></div>"
        f"{_placement(picture)}</div>"
    )


def _timing(report: Mapping[str, Any], shades: Mapping[str, str]) -> str:
    if "timing" not in report:
        return ""
    rows = "".join(
        f'<tr><td>{escape(clock["clock"])}</td><td class="n">{clock["achieved"]:.2f} MHz</td>'
        f'<td class="n">{clock["required"]:.2f} MHz</td><td>{"met" if clock["met"] else "<b>missed</b>"}</td></tr>'
        for clock in report["timing"]
    )
    heads = '<tr><th>clock</th><th class="n">routed</th><th class="n">required</th></tr>'
    text = f"<h2>Timing</h2><table>{heads}{rows}</table>"
    path = report.get("path")
    if not path:
        return text
    total = sum(stage["logic_ns"] + stage["routing_ns"] for stage in path) or 1
    parts = []
    for stage in path:
        colour = shades.get(stage["block"], OTHER)
        for kind, tint in (("routing", colour + "66"), ("logic", colour)):
            time = stage[f"{kind}_ns"]
            parts.append((time / total, tint, f"{stage['block']}: {kind} {time} ns"))
    steps = "".join(
        f'<tr><td>{_key(stage["block"], shades)}</td><td class="n">{stage["cells"]}</td>'
        f'<td class="n">{stage["logic_ns"]:.2f}</td><td class="n">{stage["routing_ns"]:.2f}</td></tr>'
        for stage in path
    )
    ends = report["slowest_path"]
    return text + (
        f"<p>Slowest path, {total:.2f} ns (pale: routing, full: logic):</p>{_bar(parts, 'wide')}"
        '<table><tr><th>through block</th><th class="n">cells</th><th class="n">logic ns</th>'
        f'<th class="n">routing ns</th></tr>{steps}</table>'
        f"<small>from <code>{escape(ends['from'])}</code> to <code>{escape(ends['to'])}</code></small>"
    )


def _placement(picture: str) -> str:
    if not picture:
        return ""
    note = "Colours as in the table, deeper where a tile is fuller; the red line is the slowest path."
    return f'<div class="picture">{picture}<br><small>{note}</small></div>'


def _configuration(report: Mapping[str, Any]) -> str:
    meaning = {field.name: field.metadata.get("doc", "") for field in fields(Config)}
    rows = "".join(
        f'<tr><td><code>{name}</code></td><td class="n">{value:,}</td>'
        f'<td><small>{escape(meaning.get(name, ""))}</small></td></tr>'
        for name, value in report["config"].items()
    )
    return f"<h2>Configuration</h2><table>{rows}</table>"


def _seconds(report: Mapping[str, Any]) -> str:
    if not report["seconds"]:
        return ""
    seconds = report["seconds"].items()
    cells = "".join(f'<tr><td>{name}</td><td class="n">{time:.1f} s</td></tr>' for name, time in seconds)
    return f"<h2>Build time</h2><table>{cells}</table>"


def _bar(parts: Sequence[tuple[float, str, str]], kind: str = "") -> str:
    inner = "".join(
        f'<i style="width:{share:.3%};background:{colour}" title="{escape(title)}"></i>'
        for share, colour, title in parts
    )
    return f'<div class="bar {kind}">{inner}</div>'


def _key(block: str, shades: Mapping[str, str]) -> str:
    return f'<i class="key" style="background:{shades.get(block, OTHER)}"></i>{escape(block)}'
