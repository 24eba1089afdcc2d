// A website's backend on the TypeScript types that openapi-typescript makes of our document.
//
//     node typescript_client.js READY_FILE_OF_THE_DEMO   (compiled with `client.d.ts` beside it, strictly)

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { components, paths, webhooks } from "./client.js";

const ready = JSON.parse(readFileSync(process.argv[2]!, "utf8"));
const client = createClient<paths>({
  baseUrl: ready.api_url,
  headers: { Authorization: `Bearer ${ready.caller_key}` },
});

const body: components["schemas"]["CreateSigning"] = {
  sender: "system",
  reference: "client-ts",
  documents: [{ template: "nda" }],
  signers: [{ key: "visitor", name: "Ada Lovelace", email: "ada@example.com", role: "Client", return_url: `${ready.site_url}/orders` }],
};
const header = { "Idempotency-Key": `ts-${randomUUID()}` };
const made = await client.POST("/v1/signings", { params: { header }, body });
assert.equal(made.response.status, 201, JSON.stringify(made.error));
const signing = made.data as components["schemas"]["Signing"];
assert.equal(signing.status, "open");
assert.match(signing.signers[0]!.view!.url!, /^http/);

const again = await client.POST("/v1/signings", { params: { header }, body });
assert.equal((again.data as components["schemas"]["Signing"]).id, signing.id);
assert.equal(again.response.headers.get("idempotency-replayed"), "true");

const read = await client.GET("/v1/signings/{id}", { params: { path: { id: signing.id } } });
assert.equal(read.data?.provider?.envelope_id, signing.provider?.envelope_id);
const page = await client.GET("/v1/signings", { params: { query: { reference: "client-ts", status: "open" } } });
assert.ok(page.data?.data.some((one) => one.id === signing.id));
const voided = await client.POST("/v1/signings/{id}/void", { params: { path: { id: signing.id } }, body: { reason: "a test" } });
assert.equal(voided.data?.status, "voided");

const refused = await client.GET("/v1/signings/{id}", { params: { path: { id: "sig_" + "0".repeat(32) } } });
assert.equal(refused.response.status, 404);
const problem: components["schemas"]["Problem"] = refused.error!;
assert.equal(problem.code, "not_found");
assert.equal(problem.retryable, false);

// What a webhook brings has a type, too.
type Completed = webhooks["signing.completed"]["post"]["requestBody"]["content"]["application/json"];
const message: Completed = { type: "signing.completed", timestamp: "2026-06-01T12:07:41Z", data: { id: signing.id } };
assert.ok(message.type);
console.log("ok      the generated TypeScript client: create, repeat, read, list, void, a problem, a webhook's type");
