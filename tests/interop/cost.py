"""What one signing costs, counted by callgrind and not timed: instructions and allocations of
`POST /v1/signings` with a template, a warm token and the embedded store, in the debug build.

    python cost.py PATH_OF_COUNTERSIGN [--write]

Each count is the difference between a run with few signings and one with more, so that starting and stopping
are not in it. They are compared with `tests/bench/cost.json`: more than a tenth above it is a failure; with
`--write` the file is written anew, for a change that is meant. Debug counts are several times those of a
release build, and move with them. Ends with `cost: within the budget`, or exits 1.
"""

import hashlib
import http.client
import json
import pathlib
import re
import subprocess
import sys
import tempfile

from running import settings, started

BINARY = sys.argv[1]
BUDGET = pathlib.Path(__file__).resolve().parent.parent / "bench" / "cost.json"
FEW, MORE = 20, 80
# Wakes of threads and rounds of timers differ from run to run; what a change costs shows above that.
SPARE = 1.10
KEY = "cs_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
KEY_HASH = "sha256:" + hashlib.sha256(KEY.encode()).hexdigest()
REST = """
[log]
level = "warn"
[stop]
grace = 0
"""

# Every way into the allocator; what it is, is the binary's own matter.
ALLOCATES = re.compile(r"__rust_(alloc|alloc_zeroed|realloc)$")


def sign(url, count):
    body = json.dumps({
        "reference": "order-8812",
        "sender": "system",
        "documents": [{"template": "nda"}],
        "signers": [{"key": "visitor", "name": "Ada Lovelace", "email": "ada@example.com", "role": "Client",
                     "return_url": "https://www.example.com/done"}],
    })
    daemon = http.client.HTTPConnection(url.removeprefix("http://"), timeout=120)
    for number in range(count):
        daemon.request("POST", "/v1/signings", body, {
            "Authorization": f"Bearer {KEY}",
            "Content-Type": "application/json",
            "Idempotency-Key": f"cost-{number}",
        })
        answer = daemon.getresponse()
        text = answer.read()
        if answer.status != 201:
            sys.exit(f"a signing was answered {answer.status}: {text.decode()}")


def counts(out):
    """Instructions and allocations in a profile of callgrind: its own cost lines, and calls by name."""
    names, called, total, calls = {}, None, 0, 0
    for line in open(out, errors="replace"):
        if line.startswith(("fn=", "cfn=")):
            number, _, name = line.partition("=")[2].strip().partition(" ")
            names.setdefault(number, name)
            called = names[number]
        elif line.startswith("calls="):
            if ALLOCATES.search(called):
                calls += int(line[6:].split()[0])
        elif line.startswith("totals:"):
            total += int(line.split()[1])
    return {"instructions": total, "allocations": calls}


def lived(signings):
    """What a daemon's whole life costs with so many signings in it."""
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        out = directory / "callgrind.out"
        emulator, stand_in = started([BINARY, "emulate", "--listen", "127.0.0.1:0"], directory, "emulator")
        try:
            serve = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}",
                     BINARY, "serve", "--config", settings(emulator, directory, KEY_HASH, REST)]
            daemon, program = started(serve, directory, "daemon", 120)
            sign(daemon["api_url"], signings)
            program.terminate()
            program.wait(timeout=120)
        finally:
            stand_in.kill()
        return counts(out)


def main():
    few, more = lived(FEW), lived(MORE)
    seen = {what: round((more[what] - few[what]) / (MORE - FEW)) for what in few}
    if "--write" in sys.argv:
        BUDGET.write_text(json.dumps(seen, indent=2) + "\n")
    budget = json.loads(BUDGET.read_text())
    failed = False
    for what, cost in seen.items():
        over = cost > budget[what] * SPARE
        failed |= over
        print(f"{what} a signing: {cost:,} of {budget[what]:,}" + (": OVER THE BUDGET" if over else ""))
    if failed:
        sys.exit("cost: over the budget; if the change is worth it, run with --write and say why in the commit")
    print("cost: within the budget")


main()
