"""`make chaos`: `python -m tests.chaos --rounds 500 --kills 200 --intake-kills 50 --seed 7`.

tests/support/chaos.py, lives.py and mqtt_chaos.py say what is done. One JSON line for the engine, one for each kind of
upstream, one for each broker of the way in; exit code 1 when the books disagree.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from tests.support.chaos import KINDS, rounds_of
from tests.support.lives import is_whole as is_one_life
from tests.support.lives import many_lives
from tests.support.mqtt_chaos import BROKERS, kills_of


def kill_the_engine(kills: int, seed: int) -> bool:
    """Whether what it put out is what one that was never killed puts out."""
    print(f"engine: {kills} kills, seed {seed}", file=sys.stderr)
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fieldgate-chaos-") as folder:
        result = many_lives(Path(folder), kills, seed)
    print(json.dumps({"engine": "killed", **result, "seconds": round(time.monotonic() - started_s, 1)}))
    return is_one_life(result)


def kill_under_load(broker: str, kills: int, seed: int) -> bool:
    """Whether every durable reading is delivered once."""
    print(f"intake behind {broker}: {kills} kills, seed {seed}", file=sys.stderr)
    started_s = time.monotonic()
    outcome = kills_of(broker, kills, seed)
    result = {"intake": broker, "seed": seed, "whole": outcome.is_whole} | asdict(outcome)
    print(json.dumps(result | {"seconds": round(time.monotonic() - started_s, 1)}), flush=True)
    return outcome.is_whole


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill and cut at random, then compare the books.")
    parser.add_argument("--rounds", type=int, default=500, help="of each kind of upstream; default %(default)s")
    parser.add_argument("--kills", type=int, default=200, help="of the engine's process; default %(default)s")
    parser.add_argument("--intake-kills", type=int, default=50, help="of the gateway under MQTT load; %(default)s")
    parser.add_argument("--kind", choices=KINDS, default=None, help="one kind of upstream alone")
    parser.add_argument("--seed", type=int, default=None, help="default: drawn, and printed")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed
    is_whole = True
    if arguments.kills:
        is_whole &= kill_the_engine(arguments.kills, seed)
    for kind in (arguments.kind,) if arguments.kind else KINDS if arguments.rounds else ():
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
        print(json.dumps(result), flush=True)
    for broker in BROKERS if arguments.intake_kills else ():
        is_whole &= kill_under_load(broker, arguments.intake_kills, seed)
    return 0 if is_whole else 1


if __name__ == "__main__":
    sys.exit(main())
