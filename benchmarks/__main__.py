"""``python3 run.py bench [NAME]``: figures of this project, measured side by side.

    calls     how long a tool call takes, as whole processes, in alternating rounds (the default)
    inputs    how long ten 5 MB pictures take from a server that answers after 300 ms
    files     what the file server sends, beside Express and nginx
    limits    peak memory and time of a call and of a worker, with input that is meant to cost
    endurance 300 calls, six at a time, every seventh killed, and a worker of the file server

Only ratios within one run mean anything on a busy machine.
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
