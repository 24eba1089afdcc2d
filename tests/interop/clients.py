"""Clients that public generators make of our OpenAPI document, compiled and run against the demo.

    python clients.py PATH_OF_COUNTERSIGN DIRECTORY_WITH_node_modules

Python by openapi-python-client, TypeScript by openapi-typescript and openapi-fetch. A warning of a generator
is a failure: what it leaves out, its users do not have. Exits 1 if anything fails.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

BINARY, MODULES = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2]).resolve()
HERE = pathlib.Path(__file__).parent


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}")
    return done.stdout + done.stderr


def python(directory, ready):
    tools = pathlib.Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    said = run(tools / "openapi-python-client", "generate", "--path", directory / "openapi.json", "--meta", "none",
               "--fail-on-warning", "--config", HERE / "python_client.yaml",
               "--output-path", directory / "countersign_client", env=environment)
    if "WARNING" in said:
        sys.exit(said)
    run(sys.executable, "-m", "compileall", "-q", directory / "countersign_client")
    shutil.copy(HERE / "python_client.py", directory)
    print(run(sys.executable, directory / "python_client.py", ready), end="")


def typescript(directory, ready):
    tools = MODULES / "node_modules" / ".bin"
    (directory / "node_modules").symlink_to(MODULES / "node_modules")
    (directory / "package.json").write_text('{"type": "module"}')
    shutil.copy(HERE / "typescript_client.ts", directory)
    run(tools / "openapi-typescript", directory / "openapi.json", "-o", directory / "client.d.ts")
    run(tools / "tsc", "--strict", "--noUncheckedIndexedAccess", "--module", "nodenext", "--target", "es2022",
        "--types", "node", directory / "typescript_client.ts", cwd=directory)
    print(run("node", directory / "typescript_client.js", ready), end="")


def main():
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        (directory / "openapi.json").write_text(run(BINARY, "openapi"))
        ready = directory / "ready.json"
        demo = subprocess.Popen([BINARY, "demo", "--site", "127.0.0.1:0", "--ready-file", ready], stdout=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 30
            while not ready.exists():
                if demo.poll() is not None or time.monotonic() > end:
                    sys.exit("the demo did not start")
                time.sleep(0.02)
            json.loads(ready.read_text())
            python(directory, ready)
            typescript(directory, ready)
        finally:
            demo.terminate()
            demo.wait(timeout=20)


if __name__ == "__main__":
    main()
