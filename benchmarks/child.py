"""python -m benchmarks.child COMMAND …: run a command, print its seconds and its peak memory in MB."""

import resource
import subprocess
import sys
import time


def main(command: list[str]) -> int:
    begin = time.perf_counter()
    run = subprocess.run(command, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begin
    unit = 1 if sys.platform == "darwin" else 1024
    print(seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 1e6)
    return run.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
