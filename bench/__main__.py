"""`make bench` prints one table and writes bench.json; `make bench ONLY='store steps'` measures some of it."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from bench import cluster, crawl, images, objects, publish, search, steps, store, stream
from bench.measure import ROOT, Measure, machine
from deploy.programs import CACHE, Failed

PARTS: dict[str, Callable[[int], Iterator[Measure]]] = {
    "store": store.measures,
    "steps": steps.measures,
    "objects": objects.measures,
    "crawl": crawl.measures,
    "publish": publish.measures,
    "stream": stream.measures,
    "search": search.measures,
    "images": images.measures,
    "cluster": cluster.measures,
}


def main() -> int:
    """Measure, and return 0."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("only", nargs="*", choices=[*PARTS, []], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5, help="of each measure; the median counts")
    arguments = parser.parse_args()

    os.environ["PATH"] = f"{CACHE / 'bin'}{os.pathsep}{os.environ['PATH']}"  # as `make up` does
    measured: list[Measure] = []
    about = machine()
    print(", ".join(f"{name}: {value}" for name, value in about.items()))
    print(f"\n{'measure':<46} {'against':<30} {'median (spread)':<32} to reach", flush=True)
    for part in arguments.only or PARTS:
        try:
            for measure in PARTS[part](arguments.rounds):
                print(measure, flush=True)
                measured.append(measure)
        except Failed as reason:
            print(f"{part}: not measured. {reason}", flush=True)
    result = {"measured_at": f"{datetime.now(UTC):%FT%TZ}", "machine": about, "measures": [vars(m) for m in measured]}
    (ROOT / "bench.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
