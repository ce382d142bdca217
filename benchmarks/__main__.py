"""``python3 run.py bench [NAME]``: measure this project next to others.

    calls     CPU and wall time of a call, as multiples of `python -c pass` (the default)
    inputs    downloading ten 5 MB images from a server that responds after 300 ms
    files     throughput of the file server, Express and nginx
    limits    peak memory and time of a call and of a worker, with expensive input
    endurance 300 calls, six at a time, every seventh killed, and one killed worker of the file server

On a busy machine only ratios within one run are meaningful.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence

from benchmarks import calls, endurance, files, inputs, limits

BENCHES: Mapping[str, Callable[[], int]] = {
    "calls": calls.main,
    "inputs": inputs.main,
    "files": files.main,
    "limits": limits.main,
    "endurance": endurance.main,
}


def main(argv: Sequence[str]) -> int:
    name = argv[0] if argv else "calls"
    if name not in BENCHES:
        print(__doc__, file=sys.stderr)
        return 2
    return BENCHES[name]()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
