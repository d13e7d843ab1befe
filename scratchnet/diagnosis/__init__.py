"""What works on this machine, what does not, and what to do about it: the checks of `python -m scratchnet.doctor`.

Each check gives Findings. None of them may be stopped by what it looks for: a file that is not there, a package that
cannot be imported, a driver that does not answer.
"""

from scratchnet.diagnosis.finding import Finding, Section, examine

__all__ = ["Finding", "Section", "examine"]
