"""The page of a cohort's report: what failed, the volumes, a table that can be sorted, a picture of each subject."""

from __future__ import annotations

import html
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote as percent_encoded

from model_core.cohorts.files import LOGS_FOLDER, PROGRAM_VERSION
from model_core.cohorts.plot import draw_volumes
from model_core.cohorts.rows import COMPLETE, FAILED, INCOMPLETE, OUTLIER_Z, PENDING, Row
from model_core.cohorts.subjects import PROGRAM_NAME
from model_core.metric_table import METRIC
from model_core.system.text_files import write_text
from model_core.tissues import TISSUES

PAGE_FILE, PLOT_FILE = "index.html", Path("figures", "volumes.png")
SHOWN_SCORES = ("dice", "asd_mm")  # the others are in group.tsv
STATES = {COMPLETE: "complete", FAILED: "failed", INCOMPLETE: "without T1 or T2", PENDING: "not segmented yet"}
STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --line: #dfe3ea; --page: #f7f8fa; --card: #fff;
  --accent: #2f6fb3; --bad: #c2363b; --warn: #a15c00 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --soft: #98a2b1; --line: #30363f; --page: #14171c;
  --card: #1c2027; --accent: #6ea8e6; --bad: #ff7b80; --warn: #f0b35a } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); margin: 0 }
main { max-width: 1180px; margin: 0 auto; padding: 2em 1.5em 4em }
h1 { margin: 0; font-size: 1.6em } h2 { margin: 2em 0 .6em; font-size: 1.15em }
a { color: var(--accent) } .soft { color: var(--soft) }
.counts { display: flex; flex-wrap: wrap; gap: .8em; margin: 1.2em 0; padding: 0; list-style: none }
.counts li, .panel { background: var(--card); border: 1px solid var(--line); border-radius: 8px }
.counts li { padding: .5em 1em } .counts b { font-size: 1.35em; margin-right: .4em }
.counts .failed b, .bad { color: var(--bad) } .warn { color: var(--warn) }
.panel { padding: 1em; overflow-x: auto } .panel > img { width: 100%; display: block }
.note { border-left: 4px solid var(--warn); padding: .5em 1em; background: var(--card) }
ul.plain { margin: 0; padding: 0; list-style: none } ul.plain li + li { margin-top: .5em }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
th, td { padding: .35em .7em; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left } td.flags { text-align: left; white-space: normal; min-width: 16em }
th button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0; padding: 0; cursor: pointer }
th[aria-sort] button::after { content: " ▲" } th[aria-sort=descending] button::after { content: " ▼" }
tbody tr:hover { background: color-mix(in srgb, var(--accent) 8%, transparent) }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(320px, 1fr)); gap: 1em }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px; overflow: hidden }
figure img { width: 100%; display: block } figcaption { padding: .5em .8em }
figure:target { outline: 3px solid var(--accent) }
"""
SORT = """
for (const [at, head] of [...document.querySelectorAll("th")].entries()) head.querySelector("button").onclick = () => {
  const down = head.getAttribute("aria-sort") === "ascending", body = document.querySelector("tbody")
  for (const other of head.parentNode.children) other.removeAttribute("aria-sort")
  head.setAttribute("aria-sort", down ? "descending" : "ascending")
  const key = row => row.children[at].dataset.value
  const order = (a, b) => a === b ? 0 : a === "" ? 1 : b === "" ? -1 :
    (down ? -1 : 1) * (isNaN(a) || isNaN(b) ? a.localeCompare(b, undefined, {numeric: true}) : a - b)
  body.append(...[...body.children].sort((a, b) => order(key(a), key(b))))
}
"""


def write_page(output: Path, rows: Sequence[Row], notes: Sequence[str], unused: Sequence[str] = ()) -> Path:
    """Write index.html and its plot; pictures are linked, nothing comes from the network.

    Args:
        output: folder of the results.
        rows: all subjects.
        notes: sentences that stand out above all.
        unused: sentences on files that look like scans and are not used.

    Returns:
        The path of index.html.
    """
    complete = [row for row in rows if row.state == COMPLETE]
    if complete:
        (output / PLOT_FILE).parent.mkdir(exist_ok=True)
        draw_volumes(output / PLOT_FILE, complete)
    title = f"{PROGRAM_NAME}: {len(rows)} subject{'s' * (len(rows) != 1)}"
    body = "\n".join(_sections(title, rows, complete, notes, unused))
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n'
        f"<body><main>\n{body}\n</main><script>{SORT}</script></body></html>\n"
    )
    write_text(output / PAGE_FILE, page)
    return output / PAGE_FILE


def _sections(
    title: str, rows: Sequence[Row], complete: Sequence[Row], notes: Sequence[str], unused: Sequence[str]
) -> Iterator[str]:
    yield f'<h1>{html.escape(title)}</h1><div class="soft">version {PROGRAM_VERSION}; research use only</div>'
    counts = Counter(row.state for row in rows)
    flagged = sum(bool(row.outliers or row.warnings) for row in complete)
    items = [
        f'<li class="{state}"><b>{counts[state]}</b>{text}</li>' for state, text in STATES.items() if counts[state]
    ]
    items += [f'<li><b class="warn">{flagged}</b>to look at</li>'] if flagged else []
    yield f'<ul class="counts">{"".join(items)}</ul>'
    yield from (f'<p class="note">{html.escape(note)}</p>' for note in notes)
    for state in (FAILED, INCOMPLETE, PENDING):
        found = [row for row in rows if row.state == state]
        if found:
            yield f"<h2>{STATES[state].capitalize()}</h2>"
            yield f'<div class="panel"><ul class="plain">{"".join(map(_unfinished, found))}</ul></div>'
    if unused:
        items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in unused)
        yield f'<h2>Not used</h2><div class="panel"><ul class="plain">{items}</ul></div>'
    if not complete:
        return
    yield "<h2>Volumes</h2>"
    yield f'<div class="panel"><img src="{PLOT_FILE.as_posix()}" alt="Volumes of all subjects by tissue"></div>'
    yield (
        f'<p class="soft">Dashed: the median. Red: modified z score beyond {OUTLIER_Z}. Everything in the table, and '
        'more scores, is in <a href="group.tsv">group.tsv</a> and <a href="group.json">group.json</a>.</p>'
    )
    yield f'<h2>Subjects</h2><div class="panel">{_table(complete)}</div>'
    yield f'<h2>Pictures</h2><div class="gallery">{"".join(map(_figure, complete))}</div>'


def _link(text: str) -> str:
    return percent_encoded(text, errors="surrogateescape")


def _unfinished(row: Row) -> str:
    if row.state == PENDING:
        return f"<li><b>{html.escape(row.name)}</b></li>"
    log = f' <a href="{LOGS_FOLDER}/{_link(row.name)}.log">log</a>' if row.state == FAILED else ""
    return f"<li><b>{html.escape(row.name)}</b> {html.escape(row.sentence)}{log}</li>"


def _table(rows: Sequence[Row]) -> str:
    columns: dict[str, tuple[int, Callable[[Row], float | None]]] = {}
    if any(row.age_months is not None for row in rows):
        columns["Age (months)"] = 1, lambda row: row.age_months
    for tissue in TISSUES:
        columns[f"{tissue.key.upper()} (ml)"] = 1, lambda row, key=tissue.key: row.volumes[key]
    columns["Total (ml)"] = 1, lambda row: row.volumes["total"]
    for score in SHOWN_SCORES if any(row.scores for row in rows) else ():
        for tissue in TISSUES:
            heading = f"{METRIC[score].title} {tissue.key.upper()}"
            columns[heading] = METRIC[score].short_digits, lambda row, key=f"{score}_{tissue.key}": row.scores.get(key)
    head = "".join(f"<th><button>{name}</button></th>" for name in ("Subject", *columns, "To look at"))
    body = []
    for row in rows:
        cells = [
            f'<td data-value="{html.escape(row.name)}"><a href="#{_link(row.name)}">{html.escape(row.name)}</a></td>'
        ]
        cells += [_number(value_of(row), digits) for digits, value_of in columns.values()]
        flags = [*row.outliers, *row.warnings]
        listed = "".join(f'<div class="warn">{html.escape(flag)}</div>' for flag in flags)
        cells.append(f'<td class="flags" data-value="{len(flags)}">{listed}</td>')
        body.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(body) + "\n</tbody></table>"


def _number(value: float | None, digits: int) -> str:
    if value is None or math.isnan(value):
        return '<td data-value="">n/a</td>'
    if math.isinf(value):
        return '<td data-value="1e99">∞</td>'
    return f'<td data-value="{value:.6g}">{value:.{digits}f}</td>'


def _figure(row: Row) -> str:
    name = html.escape(row.name)
    flag = ' <span class="warn">to look at</span>' if row.outliers or row.warnings else ""
    report = f' <a href="{_link(row.report)}">report</a>' if row.report else ""
    inputs = f'<div class="soft">{html.escape(row.inputs)}</div>'
    source = _link(row.picture)
    picture = f'<a href="{source}"><img loading="lazy" src="{source}" alt="Slices of {name}"></a>' if source else ""
    return f'<figure id="{name}">{picture}<figcaption>{name}{report}{flag}{inputs}</figcaption></figure>'
