// The vendor's Node SDK against `countersign emulate --tls`, and through a daemon before it.
//
//     node node_sdk.mjs PATH_OF_COUNTERSIGN [DIRECTORY_WITH_node_modules]
//
// Node reads its extra CA only when it starts, so this file runs twice: first it starts the emulator,
// then itself again with NODE_EXTRA_CA_CERTS. Prints one line a check, and ends with
// `N passed, 0 failed`, or exits 1.

import { execFileSync, spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const [binary, modules = import.meta.dirname ?? ".", readyFile] = process.argv.slice(2);

if (!binary) {
  console.error("usage: node_sdk.mjs PATH_OF_COUNTERSIGN [DIRECTORY_WITH_node_modules]");
  process.exit(2);
} else if (readyFile) {
  await drive();
} else {
  await supervise();
}

async function supervise() {
  const directory = mkdtempSync(join(tmpdir(), "countersign-node-"));
  const ready = join(directory, "ready.json");
  const emulator = spawn(
    resolve(binary),
    ["emulate", "--tls", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0",
     "--state-dir", join(directory, "state"), "--ready-file", ready],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  const ended = once(emulator, "exit");
  for (const end = Date.now() + 30_000; !existsSync(ready); await sleep(20)) {
    if (emulator.exitCode !== null || Date.now() > end) throw new Error("the emulator did not start");
  }
  const { ca_file } = JSON.parse(readFileSync(ready));
  const run = spawn(process.execPath, [process.argv[1], binary, modules, ready], {
    stdio: "inherit",
    env: { ...process.env, NODE_EXTRA_CA_CERTS: ca_file },
  });
  const [code] = await once(run, "exit");
  emulator.kill("SIGTERM");
  const [emulatorCode] = await ended;
  rmSync(directory, { recursive: true, force: true });
  process.exit(code || emulatorCode);
}

async function drive() {
  const ready = JSON.parse(readFileSync(readyFile));
  const docusign = createRequire(join(resolve(modules), "package.json"))("docusign-esign");
  const account = ready.account_id;
  const key = readFileSync(ready.private_key_file);
  const scopes = ["signature", "impersonation"];
  const name = "Ada Lovelace", email = "ada@example.com";
  let passed = 0, failed = 0;

  const check = (what, isTrue, seen = "") => {
    if (isTrue) { passed += 1; console.log(`ok      ${what}`); }
    else { failed += 1; console.log(`FAILED  ${what}: ${typeof seen === "string" ? seen : JSON.stringify(seen)}`); }
  };
  const refused = async (what, call, ...codes) => {
    try {
      check(`refused: ${what}`, false, `accepted: ${JSON.stringify(await call()).slice(0, 200)}`);
    } catch (error) {
      const body = JSON.stringify(error.response?.data ?? error.response?.body ?? error.message);
      check(`refused: ${what}`, codes.some((code) => body.includes(code)), body);
    }
  };
  const control = async (method, path, body) => {
    const answer = await fetch(ready.control_url + path, { method, body: body && JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  };

  // The order matters: the first resets the second.
  const newClient = () => {
    const client = new docusign.ApiClient();
    client.setBasePath(`${ready.base_url}/restapi`);
    client.setOAuthBasePath(ready.oauth_host);
    return client;
  };
  const token = (user = ready.user_id, app = ready.integration_key, pem = key, asked = scopes) =>
    newClient().requestJWTUserToken(app, user, asked, pem, 600);

  // --- the same SDK through a daemon: it holds neither a key nor a token of DocuSign
  async function through() {
    const directory = mkdtempSync(join(tmpdir(), "countersign-node-daemon-"));
    const at = (name) => join(directory, name);
    const caller = JSON.parse(execFileSync(resolve(binary), ["caller", "add", "sdk", "--json"]));
    writeFileSync(at("settings.toml"), settings(ready, caller, directory));
    const daemon = spawn(resolve(binary), ["serve", "--config", at("settings.toml"), "--ready-file", at("ready.json")],
      { stdio: "ignore" });
    const ended = once(daemon, "exit");
    for (const end = Date.now() + 30_000; !existsSync(at("ready.json")); await sleep(20)) {
      if (daemon.exitCode !== null || Date.now() > end) throw new Error("the daemon did not start");
    }
    const { api_url } = JSON.parse(readFileSync(at("ready.json")));
    const clientWith = (bearer) => {
      const client = new docusign.ApiClient();
      client.setBasePath(`${api_url}/v1/senders/system/esign/restapi`);
      client.addDefaultHeader("Authorization", `Bearer ${bearer}`);
      return client;
    };
    const client = clientWith(caller.key);
    const envelopes = new docusign.EnvelopesApi(client);
    const made = await envelopes.createEnvelope(account, { envelopeDefinition: definition() });
    check("through: create", made.status === "sent" && Boolean(made.envelopeId), made);
    const id = made.envelopeId;
    check("through: get", (await envelopes.getEnvelope(account, id)).status === "sent");
    const { signers } = await envelopes.listRecipients(account, id);
    check("through: recipients", signers[0].email === email, signers);
    const opened = await envelopes.createRecipientView(account, id, {
      recipientViewRequest: {
        authenticationMethod: "none", clientUserId: "visitor-1", userName: name, email,
        returnUrl: "https://www.example.com/done",
      },
    });
    await refused("through: a view that returns to a foreign origin", () => envelopes.createRecipientView(account, id, {
      recipientViewRequest: {
        authenticationMethod: "none", clientUserId: "visitor-1", userName: name, email,
        returnUrl: "https://elsewhere.example/done",
      },
    }), "return_url_refused");
    check("through: recipient view", opened.url.startsWith(`${ready.base_url}/Signing/`), opened);
    const listed = await envelopes.listStatusChanges(account, { fromDate: "2020-01-01" });
    check("through: list", listed.envelopes.some((one) => one.envelopeId === id), listed);
    const act = await control("POST", `/_test/signers/${signers[0].recipientIdGuid}/sign`, {});
    check("through: the signer signs", act.event === "signing_complete", act);
    for (const part of ["1", "combined", "certificate"]) {
      const content = await envelopes.getDocument(account, id, part);
      check(`through: document ${part}`, Buffer.from(content, "binary").subarray(0, 4).toString() === "%PDF");
    }
    const templates = await new docusign.TemplatesApi(client).listTemplates(account);
    check("through: templates", templates.envelopeTemplates.some((one) => one.templateId === ready.template_id), templates);
    const users = new docusign.UsersApi(client);
    const stored = await users.createSignatures(account, ready.user_id, { userSignaturesInformation: definitionOfOne });
    const { signatureId } = stored.userSignatures[0];
    const kept = (await users.listSignatures(account, ready.user_id)).userSignatures.map((one) => one.signatureId);
    check("through: store and list a signature", kept.includes(signatureId), kept);
    await refused("through: another account", () => envelopes.getEnvelope(crypto.randomUUID(), id), "forbidden");
    await refused("through: a change of an envelope",
      () => envelopes.update(account, id, { envelope: { status: "voided", voidedReason: "x" } }), "forbidden");
    await refused("through: signatures of another user",
      () => users.listSignatures(account, ready.no_consent_user_id), "own user alone");
    await refused("through: a bearer that is no caller key",
      () => new docusign.EnvelopesApi(clientWith(granted.access_token)).getEnvelope(account, id), "unauthenticated");
    daemon.kill("SIGTERM");
    const [code] = await ended;
    check("the daemon ends with 0 on SIGTERM", code === 0, String(code));
    rmSync(directory, { recursive: true, force: true });
  }

  // --- account server
  const { body: granted } = await token();
  check("token by JWT grant", Boolean(granted.access_token) && String(granted.expires_in) === "3600", granted);
  const client = newClient();
  client.addDefaultHeader("Authorization", `Bearer ${granted.access_token}`);
  const info = await client.getUserInfo(granted.access_token);
  const mine = info.accounts.find((one) => one.accountId === account);
  check("userinfo names the user and the account", info.sub === ready.user_id && mine?.baseUri === ready.base_url, info);
  const pem = { privateKeyEncoding: { type: "pkcs1", format: "pem" }, publicKeyEncoding: { type: "pkcs1", format: "pem" } };
  const { privateKey: strange } = generateKeyPairSync("rsa", { modulusLength: 2048, ...pem });
  await refused("a key that is not registered", () => token(undefined, undefined, strange), "no_valid_keys_or_signatures");
  await refused("a user without consent", () => token(ready.no_consent_user_id), "consent_required");
  await refused("an unknown user", () => token("00000000-0000-4000-8000-000000000000"), "user_not_found");
  await refused("a scope without consent", () => token(undefined, undefined, key, [...scopes, "user_write"]), "consent_required");

  // --- envelopes
  const envelopes = new docusign.EnvelopesApi(client);
  const signer = (more = {}) => ({ name, email, recipientId: "1", routingOrder: "1", clientUserId: "visitor-1", ...more });
  const definition = (more = {}, anchor = "/sn1/") => ({
    emailSubject: "Please sign",
    status: "sent",
    documents: [{ documentBase64: pdf("Please sign: /sn1/ on /dt1/"), name: "Contract", fileExtension: "pdf", documentId: "1" }],
    recipients: { signers: [signer({ tabs: { signHereTabs: [{ anchorString: anchor }] }, ...more })] },
  });
  const create = (envelopeDefinition) => envelopes.createEnvelope(account, { envelopeDefinition });
  const view = (id, more = {}) => envelopes.createRecipientView(account, id, {
    recipientViewRequest: {
      authenticationMethod: "none", clientUserId: "visitor-1", userName: name, email,
      returnUrl: "https://www.example.com/done", ...more,
    },
  });

  const transactionId = crypto.randomUUID();
  const { envelopeId, status } = await create({ ...definition(), transactionId });
  check("create from a document", status === "sent" && Boolean(envelopeId));
  check("get the envelope", (await envelopes.getEnvelope(account, envelopeId)).status === "sent");
  check("recipient view", (await view(envelopeId)).url.startsWith(`${ready.base_url}/Signing/`));
  await refused("a view for another e-mail address", () => view(envelopeId, { email: "eve@example.com" }), "UNKNOWN_ENVELOPE_RECIPIENT");
  await refused("an anchor that is not in the document", () => create(definition({}, "/nowhere/")), "ANCHOR_TAB_STRING_NOT_FOUND");

  const found = async (filters) => ((await envelopes.listStatusChanges(account, filters)).envelopes ?? []).map((one) => one.envelopeId);
  check("list by transaction id", (await found({ transactionIds: transactionId })).join() === envelopeId);
  check("list by envelope id", (await found({ envelopeIds: envelopeId })).join() === envelopeId);
  check("list by date", (await found({ fromDate: "2020-01-01" })).includes(envelopeId));

  const composite = await create({
    status: "sent",
    compositeTemplates: [{
      serverTemplates: [{ sequence: "1", templateId: ready.template_id }],
      inlineTemplates: [{ sequence: "2", recipients: { signers: [signer({ roleName: ready.template_role })] } }],
    }],
  });
  check("create from a composite template", composite.status === "sent", composite);

  // --- SMS
  const workflows = await new docusign.AccountsApi(client).getAccountIdentityVerification(account);
  const workflow = workflows.identityVerification.find((one) => one.defaultName === "Phone Authentication");
  check("the phone workflow is listed", Boolean(workflow), workflows);
  const identityVerification = {
    workflowId: workflow.workflowId,
    inputOptions: [{
      name: "phone_number_list", valueType: "PhoneNumberList",
      phoneNumberList: [{ countryCode: "49", number: "15112345678" }],
    }],
  };
  const checked = await create(definition({ identityVerification }));
  await view(checked.envelopeId);
  const [recipient] = (await envelopes.listRecipients(account, checked.envelopeId)).signers;
  const act = await control("POST", `/_test/signers/${recipient.recipientIdGuid}/sign`, {});
  check("a signer passes the SMS check and signs", act.event === "signing_complete", act);
  const { messages } = await control("GET", "/_test/outbox");
  check("the SMS went to the number", messages.at(-1)?.to === "+4915112345678", messages);
  check("the envelope is completed", (await envelopes.getEnvelope(account, checked.envelopeId)).status === "completed");

  // --- documents
  const listed = (await envelopes.listDocuments(account, checked.envelopeId)).envelopeDocuments.map((one) => one.documentId);
  check("list documents", listed.join() === "1,certificate", listed);
  for (const [part, magic] of [["1", "%PDF"], ["combined", "%PDF"], ["certificate", "%PDF"], ["archive", "PK"]]) {
    const content = await envelopes.getDocument(account, checked.envelopeId, part);
    check(`document ${part}`, Buffer.from(content, "binary").subarray(0, magic.length).toString() === magic, String(content).slice(0, 20));
  }

  // --- changes
  const resent = await envelopes.update(account, envelopeId, { envelope: {}, resendEnvelope: "true" });
  check("resend", resent.envelopeId === envelopeId, resent);
  await envelopes.update(account, envelopeId, { envelope: { status: "voided", voidedReason: "changed our mind" } });
  check("void", (await envelopes.getEnvelope(account, envelopeId)).status === "voided");
  await refused("a second void", () => envelopes.update(account, envelopeId, { envelope: { status: "voided", voidedReason: "again" } }),
    "ENVELOPE_CANNOT_VOID_INVALID_STATE", "ENVELOPE_INVALID_STATUS", "INVALID_STATE");

  // --- stored signatures
  const users = new docusign.UsersApi(client);
  const definitionOfOne = { userSignatures: [{ signatureName: "System Sender", signatureFont: "7_DocuSign", signatureInitials: "SS" }] };
  const made = await users.createSignatures(account, ready.user_id, { userSignaturesInformation: definitionOfOne });
  const { signatureId } = made.userSignatures[0];
  check("store a signature of the own user", Boolean(signatureId), made);
  const kept = (await users.listSignatures(account, ready.user_id)).userSignatures.map((one) => one.signatureId);
  check("list stored signatures", kept.includes(signatureId), kept);
  await refused("signatures of another user", () => users.listSignatures(account, ready.no_consent_user_id), "INVALID_USERID");

  await through();
  console.log(`Node SDK: ${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}

/** Settings of a daemon before the emulator, for one caller. */
function settings(ready, caller, directory) {
  return `
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
[ops]
listen = "127.0.0.1:0"
[callers.sdk]
key_hash = "${caller.key_hash}"
return_origins = ["https://www.example.com"]
[store]
url = "sqlite://${join(directory, "store.db")}"
seal_key = "${Buffer.alloc(32, 7).toString("base64")}"
[stop]
grace = 0
`;
}

/** A one-page PDF that shows `text`, in base64, with a correct cross-reference table. */
function pdf(text) {
  const stream = `BT /F1 12 Tf 72 720 Td (${text}) Tj ET`;
  const objects = [
    "<< /Type /Catalog /Pages 2 0 R >>",
    "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
    "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
    `<< /Length ${stream.length} >>\nstream\n${stream}\nendstream`,
    "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
  ];
  let out = "%PDF-1.4\n";
  const places = objects.map((body, index) => {
    const place = out.length;
    out += `${index + 1} 0 obj\n${body}\nendobj\n`;
    return place;
  });
  const start = out.length;
  out += `xref\n0 ${objects.length + 1}\n0000000000 65535 f \n`;
  out += places.map((place) => `${String(place).padStart(10, "0")} 00000 n \n`).join("");
  out += `trailer\n<< /Size ${objects.length + 1} /Root 1 0 R >>\nstartxref\n${start}\n%%EOF\n`;
  return Buffer.from(out, "latin1").toString("base64");
}
