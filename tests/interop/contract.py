"""Our OpenAPI document against a running daemon: at the edges of what a create may hold they agree; then schemathesis
sends what the document allows and what it forbids, and nothing may answer otherwise than the document says.

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
import urllib.error
import urllib.request

import jsonschema
from openapi_spec_validator import validate

from running import settings, started

BINARY = sys.argv[1]
EXAMPLES = sys.argv[2] if len(sys.argv) > 2 else "15"
SEED = sys.argv[3] if len(sys.argv) > 3 else "1"

# What a document cannot say, and the status tells: 422 is a request that is well formed and cannot be done.
# A create may also get 400 for what only the settings know, as the origins of return URLs: at the places of UNSAID below.
CONFIG = """
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", "401", "403", "404", "409", "422", "429", "5xx"]

[[operations]]
include-operation-id = "create_signing"
# A dry run needs no Idempotency-Key, and no document can say so of one operation: it is not asked for here. As text: the
# boolean would be sent as `False`, and every create be refused for that alone.
[operations.parameters]
dry_run = "false"
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
HOOKS = r"""
import re

import schemathesis
from hypothesis import strategies as st

# Where a create that is as the document says may be wrong all the same: what is a template, a PDF, an address or a number
# that there is, who signs where, where one may be sent back to, and a port that an origin has anyway; and to a schema 1.0
# is an integer.
UNSAID = re.compile(
    r"(?s)/documents/[0-9]+(/.*)?|/frame_ancestors/[0-9]+"
    r"|/signers/[0-9]+/(authenticated_by/at|email|key|order|return_url|role|sms_auth/phone)")


@schemathesis.check
def create_is_refused_for_what_no_document_can_say(ctx, response, case):
    is_create = case.operation.definition.raw.get("operationId") == "create_signing"
    if not is_create or response.status_code != 400 or case.meta is None or not case.meta.generation.mode.is_positive:
        return
    problem = response.json()
    places = [error["pointer"] for error in problem.get("errors", [])]
    if not places or not all(UNSAID.fullmatch(place) for place in places):
        raise AssertionError(f"the document allows it: {problem['detail']} {places}")


schemathesis.openapi.format("e164", st.from_regex(r"[+]4915[1-9][0-9]{7}", fullmatch=True).map(
    lambda text: text if text.isascii() else "+4915112345678"))
# Of all addresses those that are public by their spelling, and lead nowhere (RFC 2606).
schemathesis.openapi.format("uri", st.from_regex(r"https://[a-z]{1,20}[.]invalid", fullmatch=True).map(
    lambda text: text if text.isascii() else "https://www.invalid"))
"""


# Changes of a good create, at both sides of the edge: what is taken, and what is refused.
EDGES = [
    (("expires_in",), ["1s", "01d", "365d", "8760h", "525600m", "31536000s", "31536000"],
     ["0s", "366d", "8761h", "525601m", "31536001s", "31536001", " 1d", "9999999d"]),
    (("frame_ancestors",), [["https://www.example.com", "http://127.0.0.1:8080"]],
     [["https://a.example/x"], ["https://*.example"], ["https://A.example"], ["https://1"]]),
    (("locale",), ["de", "zh_CN"], ["x", "1a", "a" * 11]),
    (("metadata",), [{"a": ""}], [{"": "a"}, {"a" * 101: "a"}]),
    (("reference",), ["a" * 255], ["", "a" * 256, "a\tb"]),
    (("signers", 0, "access_code"), ["Turing-1936"], ["", " ", "a<b", "a" * 51]),
    (("signers", 0, "authenticated_by", "id"), ["a" * 255], ["", "a" * 256]),
    (("signers", 0, "key"), ["a" * 100], ["", "a" * 101, "\u200b"]),
    (("signers", 0, "name"), ["A", "Zo\u00eb L."], ["", " A", "A ", "a" * 101]),
    (("signers", 0, "order"), [1, 10_000], [0, 10_001]),
    (("signers", 0, "role"), ["a" * 100], ["", "a" * 101]),
    (("subject",), ["a" * 100], ["", "a" * 101, "a\u202eb"]),
    (("wiev",), [], [True]),
]


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


def check_edges(document, emulator, daemon, key):
    schema = {"components": document["components"], "$ref": "#/components/schemas/CreateSigning"}
    validator = jsonschema.Draft202012Validator(schema)
    headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
    count = 0
    for (*way, last), good, bad in EDGES:
        for value, is_good in [(value, True) for value in good] + [(value, False) for value in bad]:
            body = {"sender": "system", "documents": [{"template": "nda"}], "signers": [{
                "name": "Ada Lovelace", "email": "ada@example.com", "role": emulator["template_role"],
                "authenticated_by": {"method": "password"}}]}
            place = body
            for step in way:
                place = place[step]
            place[last] = value
            url = daemon["api_url"] + "/v1/signings?dry_run=true"
            request = urllib.request.Request(url, json.dumps(body).encode(), headers)
            try:
                status = urllib.request.urlopen(request, timeout=30).status
            except urllib.error.HTTPError as refused:
                status = refused.code
            # 422 is a request that is well formed and cannot be done.
            said, taken = validator.is_valid(body), status in (200, 422)
            if (said, taken) != (is_good, is_good):
                sys.exit(f"contract: FAILED: {[*way, last]} {value!r}: valid {said}, answered {status}")
            count += 1
    print(f"ok      at {count} edges of a create the document and the daemon agree")


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
            check_edges(document, emulator, daemon, caller["key"])
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
