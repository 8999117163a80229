"""Run the fuzz and kill tests for as long as there is time, with new examples each round.

    python -m Testing.fuzz --minutes 60
    python -m Testing.fuzz --minutes 5 --seed 7

A round is a pytest process of its own, so that one that a library ends is told like any other failure; it prints the
seed with which the round can be run again. Ends with 1 if anything failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

CORE = Path(__file__).resolve().parents[1] / "core"
FUZZ_TESTS = ["test_fuzz_volumes.py", "test_fuzz_geometry.py", "test_fuzz_weights.py"]
KILL_TESTS = ["test_kill_safety.py"]
EXAMPLES, KILLS = 250, 20  # a test
LONGEST_TEST_SECONDS = 1200


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60, help="no round begins after these (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first round (default: %(default)s)")
    options = parser.parse_args()
    ends = time.monotonic() + 60 * options.minutes
    seed, failed = options.seed, []
    while time.monotonic() < ends:
        tests = [*KILL_TESTS, *FUZZ_TESTS] if seed == options.seed else FUZZ_TESTS
        began = time.monotonic()
        last_lines, status = _run(tests, seed)
        print(f"seed {seed}: {last_lines[-1]} in {time.monotonic() - began:.0f} s", flush=True)
        if status:
            failed.append(seed)
            print("\n".join(last_lines), flush=True)
        seed += 1
    print(f"{seed - options.seed} rounds of {EXAMPLES} examples a test; failed: {failed or 'none'}")
    return 1 if failed else 0


def _run(tests: list[str], seed: int) -> tuple[list[str], int]:
    """Run one round; give the end of what it said, and its exit status."""
    done = subprocess.run(
        [
            *(sys.executable, "-X", "faulthandler", "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"),
            *("--timeout", str(LONGEST_TEST_SECONDS), "--hypothesis-seed", str(seed)),
            *(str(CORE / test) for test in tests),
        ],
        env=os.environ | {"INFANTBRAINSEG_FUZZ_EXAMPLES": str(EXAMPLES), "INFANTBRAINSEG_KILLS": str(KILLS)},
        cwd=CORE.parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    return [line[:400] for line in done.stdout.splitlines()[-120:]] or ["nothing was said"], done.returncode


if __name__ == "__main__":
    sys.exit(main())
