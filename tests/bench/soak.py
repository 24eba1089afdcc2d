#!/usr/bin/env python3
"""Soak: a real daemon against a real emulator, both as processes, for an hour: what it holds, and what it gives back.

    tests/bench/soak.py BINARY [--rate 200] [--seconds 3600]

It sends creates at a steady rate with faults armed at the emulator; every fourth visitor signs and comes
back, and the emulator tells it by Connect events. It reads memory, descriptors, threads and tasks every ten
seconds: after the first twelfth of the time none of them may grow by more than a tenth, no answer may be one
that the faults do not explain, and in the end all who signed are known to have, with no create in doubt. Half
of all reads of /metrics take less than 5 ms. Ends with `good`, or exits 1.

Only the standard library. Arrivals do not wait for answers: what is late is late, not less.
"""
import argparse, asyncio, json, os, pathlib, re, statistics, subprocess, sys, tempfile, time
import socket, urllib.parse, urllib.request

FAULTS = [
    {"fault": "delay", "method": "POST", "path": "/envelopes", "rate": 0.02, "delay_ms": 400},
    {"fault": "status", "status": 503, "method": "POST", "path": "/views/recipient", "rate": 0.01},
    {"fault": "commit_then_drop", "method": "POST", "path": "/envelopes", "rate": 0.005},
    {"fault": "event_double", "path": "", "rate": 0.05},
]
BODY = {
    "sender": "system", "documents": [{"template": "nda"}],
    "signers": [{"key": "visitor", "name": "Ada Lovelace", "email": "ada@example.com", "role": "Client",
                 "return_url": "https://www.example.com/done"}],
}


def wait_for(path):
    for _ in range(1500):
        if path.exists():
            return json.loads(path.read_text())
        time.sleep(0.02)
    sys.exit(f"{path} did not come")


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    urllib.request.urlopen(request, timeout=10).read()


class Daemon:
    def __init__(self, binary, folder):
        self.folder = pathlib.Path(folder)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        ready = self.folder / "emulator.json"
        self.emulator = subprocess.Popen(
            [binary, "emulate", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--state-dir",
             str(self.folder / "emulator"), "--ready-file", str(ready)], **quiet)
        self.emulated = wait_for(ready)
        caller = json.loads(subprocess.check_output([binary, "caller", "add", "load", "--json"]))
        self.key = caller["key"]
        e = self.emulated
        with socket.socket() as free:  # its address stands in the settings before it listens
            free.bind(("127.0.0.1", 0))
            public = "127.0.0.1:%d" % free.getsockname()[1]
        (self.folder / "settings.toml").write_text(f"""
[upstream]
environment = "emulator"
oauth_url = "{e['oauth_url']}"
[senders.system]
integration_key = "{e['integration_key']}"
user_id = "{e['user_id']}"
keys = ["{e['private_key_file']}"]
[api]
listen = "127.0.0.1:0"
[ops]
listen = "127.0.0.1:0"
[public]
listen = "{public}"
base_url = "http://{public}"
[callers.load]
key_hash = "{caller['key_hash']}"
return_origins = ["https://www.example.com"]
[store]
url = "sqlite://{self.folder}/store.db"
seal_key = "OjuYkzzbqKkGyKTs1ZNpUfXwLRp9XRTZ9X6m8Y8aZf0="
[templates]
nda = "{e['template_id']}"
[connect]
hmac_keys = ["{e['connect_hmac_key']}"]
[budget]
hourly_limit = 100000000
burst_limit = 10000000
[log]
level = "error"
""")
        post(f"{e['control_url']}/_test/limits", {"hourly": 100_000_000, "burst": 10_000_000})
        ready = self.folder / "serve.json"
        self.process = subprocess.Popen(
            [binary, "serve", "--config", str(self.folder / "settings.toml"), "--ready-file", str(ready)],
            stdout=subprocess.DEVNULL, stderr=open(self.folder / "log", "w"))
        self.urls = wait_for(ready)
        host, port = self.urls["api_url"].removeprefix("http://").split(":")
        self.address = (host, int(port))
        for _ in range(500):
            try:
                urllib.request.urlopen(self.urls["ops_url"] + "/readyz", timeout=2)
                return
            except Exception:
                time.sleep(0.02)

    def gauges(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        field = lambda name: int(next(l for l in status.splitlines() if l.startswith(name)).split()[1])
        return {"rss_mb": field("VmRSS:") / 1024, "threads": field("Threads:"),
                "fds": len(os.listdir(f"/proc/{self.process.pid}/fd"))}

    def metric(self, name):
        """The value of one series, as a scrape shows it."""
        with urllib.request.urlopen(self.urls["ops_url"] + "/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found = re.search(f"^countersign_{re.escape(name)} (\\S+)$", text, re.M)
        return float(found.group(1)) if found else 0.0

    def stop(self):
        self.process.terminate()
        self.process.wait(60)
        self.emulator.kill()


IDLE_SECONDS = 30
UNSENT = -1  # all connections were waiting for answers


class Client:
    """Connections that are kept and reused; a create on each at a time. As the pool of a website does, it uses
    the one that was used last, and closes those that have rested for long: what one stall of the machine
    opened does not stay."""

    def __init__(self, daemon, limit):
        self.daemon, self.idle, self.limit, self.open = daemon, [], limit, 0
        self.seen = []  # (finished, seconds, status, 0 without an answer, or UNSENT)
        self.visits = {"begun": 0, "signed": 0}

    async def create(self, key):
        began, status = time.monotonic(), 0
        if not self.idle and self.open >= self.limit:
            self.seen.append((began, 0.0, UNSENT))
            return
        try:
            if self.idle:
                _, reader, writer = self.idle.pop()
            else:
                self.open += 1
                reader, writer = await asyncio.open_connection(*self.daemon.address)
            body = json.dumps(BODY).encode()
            writer.write((f"POST /v1/signings HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self.daemon.key}\r\n"
                          f"Idempotency-Key: {key}\r\nPrefer: wait=5\r\nContent-Type: application/json\r\n"
                          f"Content-Length: {len(body)}\r\n\r\n").encode() + body)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
            lines = head.decode("latin-1").lower().split("\r\n")
            status = int(lines[0].split(" ")[1])
            headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
            answer = await reader.readexactly(int(headers.get("content-length", "0")))
            self.idle.append((time.monotonic(), reader, writer))
        except Exception:
            self.open -= 1
        self.seen.append((time.monotonic(), time.monotonic() - began, status))
        return json.loads(answer) if status == 201 else None

    def close_rested(self):
        while self.idle and self.idle[0][0] < time.monotonic() - IDLE_SECONDS:
            self.idle.pop(0)[2].close()
            self.open -= 1

    async def create_and_sign(self, key):
        """A create whose visitor follows the view, signs, and comes back to the website by way of us."""
        made = await self.create(key)
        view = made and made["signers"][0]["view"]
        if not view:
            return
        self.visits["begun"] += 1
        _, page = await browse("GET", view["url"])
        await browse("GET", page)
        _, back = await browse("POST", page, "action=sign&name=Ada+Lovelace")
        status, site = await browse("GET", back)
        if status in (302, 303) and site.startswith("https://www.example.com/done"):
            self.visits["signed"] += 1

    async def at_rate(self, rate, seconds, prefix, tick=None, signs=0):
        began, sent, tasks = time.monotonic(), 0, set()
        while (passed := time.monotonic() - began) < seconds:
            while sent < passed * rate:
                sent += 1
                visit = self.create_and_sign if signs and sent % signs == 0 else self.create
                task = asyncio.create_task(visit(f"{prefix}-{sent}"))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            self.close_rested()
            if tick:
                tick(passed)
            await asyncio.sleep(0.005)
        ended = time.monotonic()
        if tasks:
            await asyncio.wait(tasks, timeout=40)
        return began, ended

    def between(self, began, ended):
        return [one for one in self.seen if began <= one[0] <= ended]


async def browse(method, url, form=""):
    """One request as a browser sends it; its status, and where it leads."""
    parts = urllib.parse.urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    writer.write((f"{method} {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n"
                  f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\n\r\n"
                  f"{form}").encode())
    head, _, _ = (await asyncio.wait_for(reader.read(), 30)).partition(b"\r\n\r\n")
    writer.close()
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    target = next((value for name, value in headers.items() if name.lower() == "location"), "")
    return int(lines[0].split(" ")[1]), urllib.parse.urljoin(url, target)


def quantile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] if values else 0.0


def count(seen):
    return {status: sum(1 for one in seen if one[2] == status) for status in sorted({one[2] for one in seen})}


async def soak(daemon, rate, seconds):
    for fault in FAULTS:
        post(f"{daemon.emulated['control_url']}/_test/faults", {**fault, "count": 1_000_000_000})
    client, samples, last = Client(daemon, 2000), [], [0.0]
    def tick(passed):
        if passed - last[0] >= 10:
            last[0] = passed
            # The emulator keeps every request until it is told to forget.
            urllib.request.urlopen(urllib.request.Request(
                f"{daemon.emulated['control_url']}/_test/requests", method="DELETE"), timeout=10).read()
            scraped = time.monotonic()
            tasks = daemon.metric("tasks")
            scrape_ms = 1000 * (time.monotonic() - scraped)
            samples.append((passed, daemon.gauges() | {"tasks": tasks, "scrape_ms": round(scrape_ms, 1)}))
            print(f"{passed:6.0f} s  {samples[-1][1]}  {len(client.seen)} answers", flush=True)
    began, ended = await client.at_rate(rate, seconds, "soak", tick, signs=4)
    seen = client.between(began, ended + 60)
    settled = [gauges for passed, gauges in samples if passed > seconds / 12]
    print("answers by status:", count(seen), " p50 %.0f ms, p99 %.0f ms" % tuple(
        1000 * quantile([one[1] for one in seen if one[2] != UNSENT], part) for part in (0.5, 0.99)))
    # 202 is a create whose reply was lost or late, which the faults explain; anything else they do not.
    good = all(one[2] in (201, 202) for one in seen)
    settled_by, completed = time.monotonic() + 60, -1.0
    while time.monotonic() < settled_by:
        completed, doubtful = daemon.metric('signings_total{status="completed"}'), daemon.metric("signings_uncertain")
        if completed == client.visits["signed"] and doubtful == 0:
            break
        await asyncio.sleep(0.5)
    returns = {fact: daemon.metric('returns_total{claim="signing_complete",fact="%s"}' % fact)
               for fact in ("confirmed", "pending", "contradicted")}
    print(f"visits: {client.visits}, known as completed: {completed:.0f}, creates in doubt: {doubtful:.0f}, "
          f"returns by what was known then: {returns}")
    scrapes = [gauges["scrape_ms"] for _, gauges in samples]
    print(f"/metrics: median {statistics.median(scrapes):.1f} ms, longest {max(scrapes):.1f} ms")
    good &= statistics.median(scrapes) < 5
    good &= returns["contradicted"] == 0
    good &= client.visits["begun"] == client.visits["signed"] == completed and doubtful == 0
    for name in ("rss_mb", "fds", "threads", "tasks"):
        third = max(1, len(settled) // 3)
        first = statistics.median(gauges[name] for gauges in settled[:third])
        final = statistics.median(gauges[name] for gauges in settled[-third:])
        fine = final <= first * 1.1 + 2
        good &= fine
        print(f"{name}: {first:.1f} -> {final:.1f} {'' if fine else 'GREW'}")
    return good


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("binary")
    arguments.add_argument("--rate", type=float, default=200)
    arguments.add_argument("--seconds", type=float, default=3600)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(os.path.abspath(given.binary), folder)
        try:
            good = asyncio.run(soak(daemon, given.rate, given.seconds))
        finally:
            daemon.stop()
    print("good" if good else "NOT GOOD")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
