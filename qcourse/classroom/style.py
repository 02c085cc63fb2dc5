"""The look of the grader's pages: one file each, nothing fetched, light and dark, fit for a phone."""

from html import escape
from string import Template

PAGE = Template("""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title><style>
:root { color-scheme: light dark; --ink: #1d2430; --soft: #5d6673; --line: #d9dee6; --paper: #ffffff; --card: #f6f8fa;
  --right: #2e7d43; --wrong: #b03a37; --raised: #b06a12; --none: #7a818c; --bar: #3b6fb6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --soft: #a2abb8; --line: #38404c; --paper: #14181e;
  --card: #1c222b; --right: #6cc183; --wrong: #ee8783; --raised: #e5a857; --none: #97a0ad; --bar: #7aa7e6; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
  margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--line); padding-bottom: .25rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; }
.soft { color: var(--soft); } .num { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.card { background: var(--card); border-left: 4px solid var(--none); border-radius: 4px; padding: .6rem .9rem;
  margin: .7rem 0; }
.card header { display: flex; flex-wrap: wrap; justify-content: space-between; gap: .2rem 1rem; font-weight: 600; }
.right { border-color: var(--right); } .wrong { border-color: var(--wrong); } .raised { border-color: var(--raised); }
.right .outcome { color: var(--right); } .wrong .outcome { color: var(--wrong); } .raised .outcome { color: var(--raised); }
ul.marks { list-style: none; padding: 0; margin: .4rem 0; font-size: .92rem; }
.yes::before { content: "\\2713  "; color: var(--right); } .no::before { content: "\\2717  "; color: var(--wrong); }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .5rem 0 0; font: inherit; }
pre.code { font: .85rem/1.4 ui-monospace, monospace; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; } td { overflow-wrap: anywhere; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem; }
figure { margin: 0; display: flex; flex-direction: column; justify-content: space-between; }
figcaption { font-size: .9rem; } svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--soft); font: 10px system-ui, sans-serif; } svg rect { fill: var(--bar); }
svg line { stroke: var(--line); }
a { color: var(--bar); }
</style></head><body>
$body
</body></html>
""")


def page(title: str, body: str) -> str:
    """A whole page; `body` is HTML, `title` is not."""
    return PAGE.substitute(title=escape(title), body=body)


def histogram(scores: list[float], caption: str) -> str:
    """How many got how much: five equal bins from 0 to 100 %, and one for exactly full marks."""
    counts = [0] * 6
    for score in scores:
        counts[5 if score >= 1 else min(int(score * 5), 4)] += 1
    highest, parts = max([*counts, 1]), []
    for i, n in enumerate(counts):
        height = 70 * n / highest
        x, label = 6 + i * 39, "100 %" if i == 5 else f"{20 * i}–{20 * i + 20}"
        parts.append(f'<rect x="{x}" y="{90 - height:.1f}" width="33" height="{height:.1f}" rx="2"/>')
        if n:
            parts.append(f'<text x="{x + 16.5}" y="{86 - height:.1f}" text-anchor="middle">{n}</text>')
        parts.append(f'<text x="{x + 16.5}" y="103" text-anchor="middle">{label}</text>')
    drawn = "".join(parts)
    name = escape(caption, quote=True)
    svg = f'<svg viewBox="0 0 240 108" role="img" aria-label="{name}"><line x1="4" y1="90" x2="236" y2="90"/>{drawn}</svg>'
    return f"<figure><figcaption>{escape(caption)}</figcaption>{svg}</figure>"
