// An application on the vendor's Node SDK that does as the vendor's samples do, and what the emulator's judge
// says of it; then the same orders through countersign, and what it says of those.
//
//     node sample_app.mjs PATH_OF_COUNTERSIGN [DIRECTORY_WITH_node_modules]
//
// The shape is that of docusign/code-examples-node: each request of the browser asks for a token
// (`requestJWTUserToken`), makes its call, and the status page asks `getEnvelope` until it is done. The verdicts
// below are published in deploy/faults/README.md; a change of them is a change of that page.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const ORDERS = 3;
const [binary, modules = import.meta.dirname, readyFile] = process.argv.slice(2);
if (readyFile) await drive(); else await supervise();

// Node reads its extra CA only when it starts, so this file runs twice.
async function supervise() {
  const directory = mkdtempSync(join(tmpdir(), "countersign-sample-"));
  const emulator = start(["emulate", "--tls", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0",
    "--state-dir", join(directory, "state")], join(directory, "ready.json"));
  const ready = await readyOf(emulator, join(directory, "ready.json"));
  const run = spawn(process.execPath, [process.argv[1], binary, modules, join(directory, "ready.json")], {
    stdio: "inherit", env: { ...process.env, NODE_EXTRA_CA_CERTS: ready.ca_file },
  });
  const [code] = await once(run, "exit");
  emulator.kill("SIGTERM");
  await once(emulator, "exit");
  rmSync(directory, { recursive: true, force: true });
  process.exit(code ?? 1);
}

function start(args, ready) {
  return spawn(resolve(binary), [...args, "--ready-file", ready], { stdio: ["ignore", "ignore", "ignore"] });
}

async function readyOf(program, file) {
  for (const end = Date.now() + 30_000; !existsSync(file); await sleep(20)) {
    if (program.exitCode !== null || Date.now() > end) throw new Error("it did not start");
  }
  return JSON.parse(readFileSync(file));
}

async function drive() {
  const ready = JSON.parse(readFileSync(readyFile));
  await sampleApp(ready);
  const said = await verdicts(ready);
  const counted = [...new Set(said.map((one) => one.rule))].sort()
    .map((rule) => `${rule} × ${said.filter((one) => one.rule === rule).length}`);
  console.log(`judge   of the sample application: ${counted.join(", ")}`);
  // One for the token, and one an envelope for what was done to each.
  assert.deepEqual(counted, ["mint_per_call × 1", `polling × ${ORDERS}`, `view_reminted × ${ORDERS}`]);
  assert.ok(said.every((one) => one.requests.length > 0), "each verdict shows its requests");

  await control(ready, "POST", "/_test/reset");
  await throughCountersign(ready);
  assert.deepEqual(await verdicts(ready), [], "the judge has nothing to say of countersign");
  console.log("judge   of the same orders through countersign: nothing");
}

async function control(ready, method, path) {
  const answer = await fetch(ready.control_url + path, { method });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json().catch(() => ({}));
}

async function verdicts(ready) {
  return (await control(ready, "GET", "/_test/rules")).rules;
}

async function sampleApp(ready) {
  const docusign = createRequire(join(resolve(modules), "package.json"))("docusign-esign");
  const key = readFileSync(ready.private_key_file);
  // As `dsJwtAuth.js` of the samples: a client and a token for each request of the browser.
  const envelopes = async () => {
    const client = new docusign.ApiClient();
    client.setBasePath(`${ready.base_url}/restapi`);
    client.setOAuthBasePath(ready.oauth_host);
    const { body } = await client.requestJWTUserToken(ready.integration_key, ready.user_id, ["signature", "impersonation"], key, 3600);
    client.addDefaultHeader("Authorization", `Bearer ${body.access_token}`);
    return new docusign.EnvelopesApi(client);
  };
  const recipientViewRequest = {
    authenticationMethod: "none", clientUserId: "1000", userName: "Ada Lovelace", email: "ada@example.com",
    returnUrl: "https://www.example.com/ds-return",
  };
  for (let order = 0; order < ORDERS; order += 1) {
    const envelopeDefinition = {
      emailSubject: "Please sign this document", status: "sent",
      templateId: ready.template_id,
      templateRoles: [{ roleName: ready.template_role, name: "Ada Lovelace", email: "ada@example.com", clientUserId: "1000" }],
    };
    const { envelopeId } = await (await envelopes()).createEnvelope(ready.account_id, { envelopeDefinition });
    // The page is loaded, its signer begins, and it is loaded again.
    const { url } = await (await envelopes()).createRecipientView(ready.account_id, envelopeId, { recipientViewRequest });
    assert.equal((await fetch(url, { redirect: "manual" })).status, 302);
    await (await envelopes()).createRecipientView(ready.account_id, envelopeId, { recipientViewRequest });
    for (let look = 0; look < 4; look += 1) {
      assert.equal((await (await envelopes()).getEnvelope(ready.account_id, envelopeId)).envelopeId, envelopeId);
    }
  }
}

// Links carry the address, so it must be known before it is bound.
async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

async function throughCountersign(ready) {
  const directory = mkdtempSync(join(tmpdir(), "countersign-through-"));
  const made = spawn(resolve(binary), ["caller", "add", "website", "--json"]);
  let text = "";
  for await (const piece of made.stdout) text += piece;
  const caller = JSON.parse(text);
  const port = await freePort();
  writeFileSync(join(directory, "countersign.toml"), `
[upstream]
environment = "emulator"
oauth_url = "${ready.oauth_url}"
ca_file = "${ready.ca_file}"
[senders.system]
integration_key = "${ready.integration_key}"
user_id = "${ready.user_id}"
keys = ["${ready.private_key_file}"]
[api]
listen = "127.0.0.1:0"
[public]
listen = "127.0.0.1:${port}"
base_url = "http://127.0.0.1:${port}"
[ops]
listen = "127.0.0.1:0"
[callers.website]
key_hash = "${caller.key_hash}"
return_origins = ["https://www.example.com"]
[store]
url = "sqlite://${directory}/store.db"
seal_key = "OjuYkzzbqKkGyKTs1ZNpUfXwLRp9XRTZ9X6m8Y8aZf0="
[templates]
nda = "${ready.template_id}"
[stop]
grace = 0
`);
  const daemon = start(["serve", "--config", join(directory, "countersign.toml")], join(directory, "daemon.json"));
  try {
    const { api_url } = await readyOf(daemon, join(directory, "daemon.json"));
    const headers = { authorization: `Bearer ${caller.key}`, "content-type": "application/json" };
    for (let order = 0; order < ORDERS; order += 1) {
      const body = JSON.stringify({ sender: "system", documents: [{ template: "nda" }], signers: [{
        key: "visitor", name: "Ada Lovelace", email: "ada@example.com", role: ready.template_role, return_url: "https://www.example.com/done" }], view: false });
      const answer = await fetch(`${api_url}/v1/signings`, { method: "POST", body, headers: { ...headers, "idempotency-key": `order-${order}` } });
      const signing = await answer.json();
      assert.equal(answer.status, 201, JSON.stringify(signing));
      // The page with the link is loaded twice, and the button pressed twice: one view is made, and nobody put out who
      // has opened it.
      const link = signing.signers[0].link.url;
      for (let load = 0; load < 2; load += 1) assert.equal((await fetch(link)).status, 200);
      const first = await fetch(link, { method: "POST", redirect: "manual" });
      assert.match(first.headers.get("location") ?? "", /\/Signing\//);
      assert.equal((await fetch(first.headers.get("location"), { redirect: "manual" })).status, 302);
      const second = await fetch(link, { method: "POST", redirect: "manual" });
      assert.equal(second.headers.get("location"), null, "a second click makes no second view");
      for (let look = 0; look < 4; look += 1) {
        assert.equal((await fetch(`${api_url}/v1/signings/${signing.id}`, { headers })).status, 200);
      }
    }
  } finally {
    daemon.kill("SIGTERM");
    await once(daemon, "exit");
    rmSync(directory, { recursive: true, force: true });
  }
}
