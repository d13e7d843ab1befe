"""A page as one HTML file: no script, nothing to load, light and dark."""

from collections.abc import Sequence
from html import escape

import numpy

from scratchnet.study.explain import text as plain_text
from scratchnet.study.explain.page import Beside, Block, Equation, Numbers, Page, Part, Source, Sum

GAP, LINE = " " * 8, "\n"  # between two formulas of one line: here each gets its own
STYLE = """
:root { color-scheme: light dark; --back: #fff; --ink: #1c2024; --soft: #5b6470; --line: #d6dbe1; --panel: #f4f6f8;
  --mark: #ffe08a; --mark-ink: #1c2024; --link: #0b57a4 }
@media (prefers-color-scheme: dark) { :root { --back: #14171a; --ink: #e6e9ec; --soft: #9aa4af; --line: #353c44;
  --panel: #1e2328; --mark: #7a5b00; --mark-ink: #fff; --link: #7fb8f0 } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 64rem; background: var(--back); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .3rem }
h2 { font-size: 1.15rem; margin: 0 0 .6rem }
section { border-top: 1px solid var(--line); padding-top: 1.2rem; margin-top: 1.6rem }
p { margin: .6rem 0; max-width: 46rem }
code, pre, td, th, .name { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace }
pre { margin: .6rem 0; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .9rem }
.formula { font-size: .98rem; background: var(--panel); padding: .5rem .7rem; border-radius: 6px }
.sum { padding-left: 1.6rem; text-indent: -1.6rem }
.call { color: var(--soft); font-size: .85rem; white-space: pre; overflow-x: auto }
.source { border-left: 3px solid var(--link); padding-left: .6rem; font-size: .82rem; margin: .6rem 0 }
.source div { margin: .15rem 0 } .source span { color: var(--soft); margin-right: .8rem }
.source code { overflow-wrap: anywhere }
.arrays { display: flex; flex-wrap: wrap; gap: .4rem 1.6rem; align-items: flex-start }
figure { margin: .5rem 0; max-width: 100% } .scroll { overflow-x: auto; max-width: 100% }
figcaption { font-size: .85rem; color: var(--soft); margin-bottom: .2rem } figcaption b { color: var(--ink) }
.maps { display: flex; flex-wrap: wrap; gap: .4rem 1.2rem }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums }
td { border: 1px solid var(--line); padding: .12rem .45rem; text-align: right; white-space: pre }
th { padding: .12rem .45rem; color: var(--soft); font-weight: normal; text-align: right; white-space: pre }
caption { caption-side: top; text-align: left; color: var(--soft); font-size: .8rem }
td.mark { background: var(--mark); color: var(--mark-ink); font-weight: bold }
"""


def html(page: Page, digits: int = 4) -> str:
    body = "\n".join(_block(i, block, digits) for i, block in enumerate(page.blocks, 1))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(page.name)}: {escape(page.title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(page.title)}</h1>
<pre class="call">{escape(plain_text.called(page))}</pre>
<p>{escape(page.introduction)}</p>
{body}
</body>
</html>
"""


def _block(number: int, block: Block, digits: int) -> str:
    formula = f'<pre class="formula">{escape(block.formula.replace(GAP, LINE))}</pre>' if block.formula else ""
    parts = "\n".join(_part(part, digits) for part in block.parts)
    return (
        f"<section>\n<h2>{number}. {escape(block.title)}</h2>\n{formula}\n{_quoted(block.sources)}\n{parts}\n</section>"
    )


def _quoted(sources: Sequence[Source]) -> str:
    lines = [f"<div><span>{escape(s.file)}:{s.line}</span> <code>{escape(s.code)}</code></div>" for s in sources]
    return f'<div class="source">{"".join(lines)}</div>' if lines else ""


def _part(part: Part, digits: int) -> str:
    if isinstance(part, str):
        return f"<p>{escape(_without_brackets(part))}</p>"
    if isinstance(part, Numbers):
        return _figure(part, digits)
    if isinstance(part, Beside):
        return f'<div class="arrays">{"".join(_figure(numbers, digits) for numbers in part.numbers)}</div>'
    return f'<pre class="sum">{escape(_sum(part, digits))}</pre>'


def _without_brackets(sentence: str) -> str:
    """Here marked numbers are coloured."""
    return sentence.replace("stands in [ ]", "is highlighted")


def _sum(part: Sum | Equation, digits: int) -> str:
    return " ".join(line.strip() for line in plain_text.spelled(part, digits))


def _figure(part: Numbers, digits: int) -> str:
    values = part.values
    if values.ndim == 0:
        return f'<pre class="sum">{escape(part.name)} = {plain_text.plain(float(values), digits)}</pre>'
    text = plain_text.cells(values, digits)
    marks = part.marks
    if values.ndim == 1:
        text, marks = text[None], frozenset((0, *index) for index in marks)
    maps = []
    for index in numpy.ndindex(text.shape[:-2]):
        own = frozenset(m[-2:] for m in marks if m[:-2] == index)
        caption = f"{part.name}[{','.join(map(str, index))}]" if len(text.shape) > 2 else ""
        maps.append(_table(part, text[index], own, caption))
    return (
        f'<figure><figcaption><b class="name">{escape(part.name)}</b> &nbsp; {part.shape}</figcaption>'
        f'<div class="scroll"><div class="maps">{"".join(maps)}</div></div></figure>'
    )


def _table(part: Numbers, text: numpy.ndarray, marks: frozenset, caption: str) -> str:
    labelled = bool(part.rows or part.columns)
    lines = [f"<caption>{escape(caption)}</caption>"] if caption else []
    columns = list(part.columns) or [str(j) for j in range(text.shape[1])]
    rows = list(part.rows) or ([str(i) for i in range(len(text))] if part.values.ndim > 1 else [""])
    if labelled:
        heads = "".join(f"<th>{escape(name)}</th>" for name in [part.corner, *columns])
        lines.append(f"<tr>{heads}</tr>")
    for i, row in enumerate(text):
        label = f"<th>{escape(rows[i])}</th>" if labelled else ""
        numbers = "".join(
            f'<td class="mark">{value.strip()}</td>' if (i, j) in marks else f"<td>{value.strip()}</td>"
            for j, value in enumerate(row)
        )
        lines.append(f"<tr>{label}{numbers}</tr>")
    return f"<table>{''.join(lines)}</table>"
