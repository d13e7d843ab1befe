"""python -m scratchnet.doctor: what works on this machine, and what to do about what does not.

Exit code 0 if networks can be trained on the CPU, 1 if not.
"""

import argparse
import json
import sys
import textwrap

from scratchnet import _cli
from scratchnet.diagnosis import Section, examine

WIDTH = 100
LEFT = 36  # columns of the state and of the name


def examine_everything() -> list[Section]:
    from scratchnet.diagnosis import cpu, data, gpu, packages, self_test

    return [
        examine("CPU", cpu.system, cpu.processor, cpu.threads, self_test.kernels, cpu.blas, cpu.settings),
        examine("GPU", gpu.driver, gpu.cupy, gpu.nvrtc),
        examine("Files", cpu.run_folder, data.root, data.datasets),
        examine("Packages", packages.required),
        examine("Extras", packages.extras),
    ]


def works(sections: list[Section]) -> bool:
    """Whether networks can be trained on the CPU."""
    findings = [finding for section in sections for finding in section.findings]
    return not any(finding.essential and finding.state == "not ok" for finding in findings)


def as_text(sections: list[Section]) -> str:
    lines = []
    for section in sections:
        lines.append(section.title)
        for finding in section.findings:
            lines += _wrapped(f"  {finding.state:<10}  {finding.name:<20}  ", finding.text)
            lines += _wrapped(" " * (LEFT - 2) + "→ ", finding.advice) if finding.advice else []
        lines.append("")
    problems = sum(finding.state == "not ok" for section in sections for finding in section.findings)
    verdict = "Training on the CPU works." if works(sections) else "Training on the CPU does not work."
    see = f" See what is “not ok” above: {problems} thing{'s' * (problems > 1)}." if problems else ""
    return "\n".join([*lines, verdict + see])


def _wrapped(start: str, text: str) -> list[str]:
    """Lines of at most WIDTH characters, where words allow it: paths stay whole."""
    wrapper = textwrap.TextWrapper(WIDTH, start, " " * LEFT, break_long_words=False, break_on_hyphens=False)
    return wrapper.wrap(text)


def command(argv: list[str] | None = None) -> int:
    description, _, exit_codes = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(prog="python -m scratchnet.doctor", description=description, epilog=exit_codes)
    parser.add_argument("--json", action="store_true", help="print all findings as JSON")
    options = parser.parse_args(argv)
    sections = examine_everything()
    if options.json:
        found = {section.title: [finding._asdict() for finding in section.findings] for section in sections}
        print(json.dumps({"works": works(sections), **found}, indent=2))
    else:
        print(as_text(sections))
    return 0 if works(sections) else 1


def main(argv: list[str] | None = None) -> int:
    return _cli.run(command, argv)


if __name__ == "__main__":
    sys.exit(main())
