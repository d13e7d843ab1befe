"""A trace as text of 100 columns, and as JSON."""

import textwrap
from typing import Any

import numpy

from scratchnet.study._layout import find
from scratchnet.study.report import WIDTH, title_of
from scratchnet.study.trace import Element, Part, Trace
from scratchnet.study.trace_terms import Terms

TOP = 10


def page(trace: Trace, top: int = TOP) -> str:
    first = trace.element
    mode = "training" if trace.training else "evaluation"
    lines = [f"loss {trace.loss:.6g}; {mode} mode, {trace.dtype}, rung {trace.rung}", ""]
    lines += [f"∂loss/∂{first.label} = {first.gradient:.10g}", *_sum_lines(first), ""]
    for number, part in enumerate(first.parts, start=1):
        of = f"use {number} of {len(first.parts)}: " if len(first.parts) > 1 else ""
        lines += [*_head(part, of), *_term_lines(first, part, top), ""]
    lines += _way(trace)
    return "\n".join(lines)


def _sum_lines(element: Element) -> list[str]:
    if not element.parts:
        return ["the gradient that backward starts with"]
    zeros = element.count - int(numpy.count_nonzero(element.values))
    terms = f"{element.count:,} term{'' if element.count == 1 else 's'}"
    difference = abs(element.total - element.gradient)
    if element.agrees:
        none = f" ({zeros:,} of them 0)" if zeros else ""
        verdict = f"sum of {terms}{none}: {element.total:.10g}; off by {difference:.1e}, and rounding allows "
        verdict += f"{element.allowed:.1e}"
    else:
        verdict = f"✗ the {terms} sum to {element.total:.10g}, and that is not the gradient: off by {difference:.1e}, "
        verdict += f"where rounding allows {element.allowed:.1e}"
    lines = textwrap.wrap(verdict, WIDTH)
    if element.absolute and element.count > 1:
        left = abs(element.total) / element.absolute
        lines.append(f"Σ |term| = {element.absolute:.6g}: {left:.1%} is left after positive and negative terms cancel")
    return lines


def _head(part: Part, of: str) -> list[str]:
    use, terms = part.use, part.terms
    lines = [f"{of}{use.name or 'the model'}: {title_of(use.module)}", *_indented(terms.formula)]
    if terms.line:
        file, number, code = find(*terms.line)
        lines += _indented(f"{file}:{number}   {code.partition('  # ')[0]}")
    if terms.note:
        lines += _indented(terms.note)
    return [line[:WIDTH] for line in lines]


def _indented(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")


def _term_lines(element: Element, part: Part, top: int) -> list[str]:
    terms = part.terms
    values = terms.values
    order = numpy.argsort(-abs(values), kind="stable")
    lines = [f"  {'share':>6}  {'term':>12}" + "   = gradient that arrives · the rest"] if len(values) else []
    for t in map(int, order[:top]):
        lines.append(_cut(f"  {element.share(values[t]):>6.1%}  {values[t]:>12.5g}   = {_product(part, t)}"))
    rest = order[top:]
    if len(rest):
        lines.append(
            f"  {element.share(float(abs(values[rest]).sum())):>6.1%}  {values[rest].sum():>12.5g}"
            f"   = the other {len(rest):,} terms together"
        )
    if terms.paths and len(values) > 2:
        lines.append("  by path:")
        paths = numpy.array(terms.paths)
        for path in dict.fromkeys(terms.paths):
            own = values[paths == path]
            lines.append(f"          {own.sum():>12.5g}   {path}: {len(own):,} term{'' if len(own) == 1 else 's'}")
    return lines


def _product(part: Part, t: int) -> str:
    terms = part.terms
    arrived = f"{terms.dy[t]:.5g} {_label(part.use.output.name, terms.index[t])}"
    factors = [f"{f.values[t]:.5g} {_label(_tensor(part, f.name), None if f.index is None else f.index[t])}" for f in
               terms.factors]  # fmt: skip
    path = f"   ({terms.paths[t]})" if terms.paths else ""
    return " · ".join([arrived, *factors]) + path


def _tensor(part: Part, name: str) -> str:
    """The full name of a factor that is an element of the layer's input or weight."""
    if name == "x":
        return part.use.inputs[0].name
    return f"{part.use.name}.weight" if name == "weight" and part.use.name else name


def _label(name: str, index: Any) -> str:
    return name if index is None or not len(index) else f"{name}[{','.join(str(int(i)) for i in index)}]"


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


def _way(trace: Trace) -> list[str]:
    """One line for each sum on the way, its largest term in the next line."""
    rows = []
    for element in trace.elements:
        found = element.largest()
        if found is None:
            rows.append(
                (element.label, f"{element.gradient:.5g}", f"{element.count:,}" if element.parts else "", "", "")
            )
            continue
        part, t = found
        share = element.share(float(part.terms.values[t]))
        path = f": {part.terms.paths[t]}" if part.terms.paths else ""
        through = f"{part.use.name or 'the model'} ({type(part.use.module).__name__}){path}"
        rows.append((element.label, f"{element.gradient:.5g}", f"{element.count:,}", f"{share:.1%}", through))
    header = ("∂loss/∂", "value", "terms", "largest", "which comes through")
    widths = [min(max(len(row[i]) for row in [header, *rows]), 46) for i in range(5)]
    lines = ["The way to the loss along the largest term of every sum (largest: its share of Σ |term|)"]
    for row in [header, *rows]:
        name = row[0] if len(row[0]) <= widths[0] else "…" + row[0][1 - widths[0] :]
        cells = [f"{name:<{widths[0]}}", *(f"{row[i]:>{widths[i]}}" for i in (1, 2, 3)), row[4]]
        lines.append(_cut("  " + "  ".join(cells).rstrip()))
    if trace.stop:
        lines += _indented(f"stops: {trace.stop}")
    if trace.probability is not None:
        p, y = trace.probability, trace.target
        lines.append(f"  there softmax gives p = {p:.6g}, and the target is y = {y:g}: p − y = {p - (y or 0):.6g}")
    wrong = [element.label for element in trace.elements if not element.agrees]
    if wrong:
        lines += _indented(f"✗ the terms of {', '.join(wrong)} do not sum to the gradient")
    return lines


def as_json(trace: Trace) -> dict[str, Any]:
    return {
        "loss": trace.loss,
        "training": trace.training,
        "dtype": trace.dtype,
        "rung": trace.rung,
        "agrees": trace.agrees,
        "way": [_element_json(element, element is trace.element) for element in trace.elements],
        "stop": trace.stop,
        "probability": trace.probability,
        "target": trace.target,
    }


def _element_json(element: Element, complete: bool) -> dict[str, Any]:
    """The element; its parts with every term, or only with the largest."""
    found = element.largest()
    out: dict[str, Any] = {
        "tensor": element.name,
        "index": list(element.index),
        "gradient": element.gradient,
        "terms": element.count,
        "sum": element.total,
        "absolute_sum": element.absolute,
        "allowed": element.allowed,
        "agrees": element.agrees,
        "largest": None,
    }
    if found is not None:
        part, t = found
        value = float(part.terms.values[t])
        out["largest"] = {"value": value, "share": element.share(value), "layer": part.use.name, "term": t}
    if complete:
        out["parts"] = [_part_json(part) for part in element.parts]
    return out


def _part_json(part: Part) -> dict[str, Any]:
    terms: Terms = part.terms
    source = None
    if terms.line:
        file, number, code = find(*terms.line)
        source = {"file": file, "line": number, "code": code}
    return {
        "layer": part.use.name,
        "type": type(part.use.module).__name__,
        "formula": terms.formula,
        "source": source,
        "note": terms.note,
        "arrives_at": part.use.output.name,
        "values": terms.values.tolist(),
        "dy": terms.dy.tolist(),
        "dy_index": terms.index.tolist(),
        "paths": list(terms.paths),
        "factors": [
            {
                "name": _tensor(part, factor.name),
                "values": factor.values.tolist(),
                "index": None if factor.index is None else factor.index.tolist(),
            }
            for factor in terms.factors
        ],
    }
