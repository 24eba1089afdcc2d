"""Our OpenAPI document against a running daemon: schemathesis sends what the document allows and what it
forbids, and nothing may answer otherwise than the document says.

    python contract.py PATH_OF_COUNTERSIGN [EXAMPLES [SEED]]

EXAMPLES is how many cases an operation gets (15). Starts an emulator and a daemon of its own. Before that,
the document is validated, and each example in it against its schema. Ends with `contract: 0 failed`, or exits 1.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

import jsonschema
from openapi_spec_validator import validate

from running import settings, started

BINARY = sys.argv[1]
EXAMPLES = sys.argv[2] if len(sys.argv) > 2 else "15"
SEED = sys.argv[3] if len(sys.argv) > 3 else "1"

# What a document cannot say, and the status tells: 422 is a request that is well formed and cannot be done.
# A create may also get 400 for what only the settings know: the origins of return URLs, the templates.
CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "422", "429", "5xx"]

[[operations]]
include-operation-id = "create_signing"
# A dry run needs no Idempotency-Key, and no document can say so of one operation: it is not asked for here.
[operations.parameters]
dry_run = false
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "400", "401", "403", "404", "409", "422", "429", "5xx"]

# Whether an address is on the public internet no schema can say, and one that another answer held is tried, too.
[[operations]]
include-operation-id = "create_webhook_endpoint"
[operations.checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "400", "401", "403", "404", "409", "422", "429", "5xx"]

# Streams and waits are asked for shortly.
[[operations]]
include-operation-id = "wait_for_signing"
[operations.parameters]
timeout = 0

# Where it stands: one sender, so that what lies behind its name is reached.
[[operations]]
include-tag = "senders"
[operations.parameters]
name = "system"
"""

# A phone number is more than its pattern: the country code must be assigned.
HOOKS = """
import schemathesis
from hypothesis import strategies as st

schemathesis.openapi.format("e164", st.from_regex(r"[+]4915[1-9][0-9]{7}", fullmatch=True).map(
    lambda text: text if text.isascii() else "+4915112345678"))
# Of all addresses those that are public by their spelling, and lead nowhere (RFC 2606).
schemathesis.openapi.format("uri", st.from_regex(r"https://[a-z]{1,20}[.]invalid", fullmatch=True).map(
    lambda text: text if text.isascii() else "https://www.invalid"))
"""


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    urllib.request.urlopen(request, timeout=10).read()


def more(emulator):
    return f"""
[public]
listen = "127.0.0.1:0"
base_url = "http://127.0.0.1:1"
[connect]
hmac_keys = ["{emulator['connect_hmac_key']}"]
[stop]
grace = 0
deadline = 5
"""


def check_document(document):
    validate(document)
    registry = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": document["components"]}
    count = 0
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", []):
            whole = {**registry, "$ref": f"#/components/schemas/{name}"}
            jsonschema.Draft202012Validator(whole).validate(example)
            count += 1
    for path in document["paths"].values():
        for operation in path.values():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            if "example" in content:
                jsonschema.Draft202012Validator({**registry, **content["schema"]}).validate(content["example"])
                count += 1
    print(f"ok      the document is OpenAPI {document['openapi']}, and its {count} examples fit its schemas")


def main():
    document = json.loads(subprocess.check_output([BINARY, "openapi"]))
    check_document(document)
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        (directory / "schemathesis.toml").write_text(CONFIG)
        (directory / "hooks.py").write_text(HOOKS)
        caller = json.loads(subprocess.check_output([BINARY, "caller", "add", "website", "--json"]))
        emulator, first = started(
            [BINARY, "emulate", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--state-dir", directory / "state"],
            directory, "emulator")
        config = settings(emulator, directory, caller["key_hash"], more(emulator))
        daemon, second = started([BINARY, "serve", "--config", config], directory, "daemon")
        try:
            post(emulator["control_url"] + "/_test/limits", {"hourly": 10_000_000, "burst": 10_000_000})
            run = subprocess.run(
                [pathlib.Path(sys.executable).parent / "schemathesis", "--config-file", directory / "schemathesis.toml",
                 "run", daemon["api_url"] + "/openapi.json", "-H", "Authorization: Bearer " + caller["key"],
                 "--max-examples", EXAMPLES, "--seed", SEED, "--checks", "all", "--continue-on-failure",
                 "--no-shrink", "--request-timeout", "30", "--warnings", "off", "--no-color"],
                cwd=directory, env={**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": name},
                capture_output=True, text=True)
            lines = run.stdout.splitlines()
            # All of it where something is wrong, the summary where nothing is.
            start = next((at for at, line in enumerate(lines) if " SUMMARY " in line), 0)
            print("\n".join(lines if run.returncode else lines[start:]))
            alive = urllib.request.urlopen(daemon["ops_url"] + "/livez", timeout=10).status == 200
            # All but the document itself, which it has read already.
            tested = f"Tested: {sum(len(path) for path in document['paths'].values()) - 1}"
            if run.returncode or not alive or tested not in run.stdout:
                print(run.stderr, (directory / "daemon.log").read_text()[-2000:], sep="\n")
                sys.exit("contract: FAILED")
        finally:
            for program in (second, first):
                program.terminate()
                program.wait(timeout=20)
    print("contract: 0 failed")


if __name__ == "__main__":
    main()
