"""Code in a fresh interpreter."""

import os
import subprocess
import sys


def run(code, timeout=120, **environment):
    """Without the settings of this process."""
    kept = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "SOFTLANE_ISA")}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env={**kept, **environment}, capture_output=True, text=True, timeout=timeout)


def printed(code, **environment):
    done = run(code, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
