"""`import scratchnet` takes under 0.25 s (best of five processes) and loads none of the heavy packages."""

import subprocess
import sys

CODE = """
import sys, time
start = time.perf_counter()
import scratchnet
print(time.perf_counter() - start, *[m for m in ("torch", "numba", "cupy", "matplotlib") if m in sys.modules])
"""

best, heavy = 1e9, set()
for _ in range(5):
    seconds, *loaded = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True
    ).stdout.split()
    best, heavy = min(best, float(seconds)), heavy | set(loaded)
print(f"import scratchnet: {best:.3f} s")
if best > 0.25 or heavy:
    sys.exit(f"expected under 0.25 s and no heavy package, got {best:.3f} s and {sorted(heavy) or 'none'}")
