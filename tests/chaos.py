"""`make chaos`: `python -m tests.chaos --rounds 500 --seed 7`; see tests/support/chaos.py for what is done.

One JSON line for each kind of upstream; exit code 1 when the books disagree.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time

from tests.support.chaos import KINDS, rounds_of


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill and cut at random, then compare the books.")
    parser.add_argument("--rounds", type=int, default=500, help="of each kind of upstream; default %(default)s")
    parser.add_argument("--seed", type=int, default=None, help="default: drawn, and printed")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed
    is_whole = True
    for kind in KINDS:
        print(f"{kind}: {arguments.rounds} rounds, seed {seed}", file=sys.stderr)
        started_s = time.monotonic()
        verdict, done = rounds_of(kind, arguments.rounds, seed)
        is_whole &= verdict.is_whole
        result = {
            "upstream": kind,
            "seed": seed,
            "rounds": arguments.rounds,
            "whole": verdict.is_whole,
            "produced": verdict.produced,
            "received": verdict.received,
            "waiting": verdict.waiting,
            "lost": sum(map(len, (*verdict.lost, *verdict.lost_kept))),
            "duplicates": len(verdict.duplicates),
            "seconds": round(time.monotonic() - started_s, 1),
            "harm": done,
        }
        print(json.dumps(result))
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
