"""The commands, called as a program would call them."""

import importlib

import pytest


@pytest.fixture
def run(request, capsys):
    """run("list", …) → exit code, standard output, standard error of the command whose tests these are: its main is
    that of scratchnet.NAME for test_NAME.py."""
    command = importlib.import_module(f"scratchnet.{request.path.stem.removeprefix('test_')}")

    def run(*argv):
        try:
            code = command.main([str(argument) for argument in argv])
        except SystemExit as stop:  # argparse
            code = stop.code
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return run
