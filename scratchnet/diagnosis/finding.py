"""What a check finds, and running checks so that none of them can stop the others."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

State = Literal["ok", "not ok", "not needed"]


class Finding(NamedTuple):
    name: str
    state: State
    text: str
    advice: str = ""  # what to do about it
    essential: bool = False  # without it nothing can be trained on the CPU


class Section(NamedTuple):
    title: str
    findings: list[Finding]


Check = Callable[[], Iterator[Finding]]


def examine(title: str, *checks: Check) -> Section:
    """Run the checks; what one of them raises becomes a finding of its own, named after the check."""
    findings: list[Finding] = []
    for check in checks:
        try:
            findings.extend(check())
        except Exception as error:
            name = check.__name__.replace("_", " ")
            text = f"this could not be found out: {type(error).__name__}: {error}"
            findings.append(Finding(name, "not ok", text, "Please report it, with this message."))
    return Section(title, findings)
