"""Starting the emulator and a daemon, as the other scripts here need them."""

import json
import subprocess
import sys
import time


def started(command, directory, name, seconds=30):
    """The ready file of a program that was started, and the program; its output goes to NAME.log."""
    ready, log = directory / f"{name}.json", directory / f"{name}.log"
    with open(log, "wb") as out:
        program = subprocess.Popen([*command, "--ready-file", ready], stdout=out, stderr=out)
    end = time.monotonic() + seconds
    while not ready.exists():
        if program.poll() is not None or time.monotonic() > end:
            program.kill()
            sys.exit(f"{name} did not start: {log.read_text()}")
        time.sleep(0.02)
    return json.loads(ready.read_text()), program


def settings(emulator, directory, key_hash, more):
    """A settings file for a daemon before this emulator, with one caller, one template and `more`."""
    path = directory / "countersign.toml"
    path.write_text(f"""
[upstream]
environment = "emulator"
oauth_url = "{emulator['oauth_url']}"
[senders.system]
integration_key = "{emulator['integration_key']}"
user_id = "{emulator['user_id']}"
keys = ["{emulator['private_key_file']}"]
[api]
listen = "127.0.0.1:0"
[ops]
listen = "127.0.0.1:0"
[callers.website]
key_hash = "{key_hash}"
return_origins = ["https://www.example.com"]
[store]
url = "sqlite://{directory}/store.db"
seal_key = "OjuYkzzbqKkGyKTs1ZNpUfXwLRp9XRTZ9X6m8Y8aZf0="
[templates]
nda = "{emulator['template_id']}"
{more}
""")
    return path
