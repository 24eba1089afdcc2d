// What a careful developer writes instead of countersign: a small service on the vendor's Node SDK, with one
// cached token, one API client, and connections that are kept.
//
//     node node.mjs DIRECTORY_WITH_node_modules REST_ORIGIN OAUTH_ORIGIN INTEGRATION_KEY USER ACCOUNT TEMPLATE KEY_FILE
//
// Prints where it listens. It keeps nothing: an answer that is lost is lost.

import { readFileSync } from "node:fs";
import { createServer, globalAgent } from "node:http";
import { globalAgent as secureAgent } from "node:https";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const [modules, rest, oauth, integrationKey, user, account, template, keyFile] = process.argv.slice(2);
const docusign = createRequire(join(resolve(modules), "package.json"))("docusign-esign");
for (const agent of [globalAgent, secureAgent]) agent.keepAlive = true;

const client = new docusign.ApiClient();
client.setBasePath(`${rest}/restapi`);
client.setOAuthBasePath(new URL(oauth).host);
const envelopes = new docusign.EnvelopesApi(client);
const key = readFileSync(keyFile);

let token = null, expires = 0, minting = null;

async function fresh() {
  if (token && Date.now() < expires - 600_000) return;
  minting ??= client.requestJWTUserToken(integrationKey, user, ["signature", "impersonation"], key, 600).then((answer) => {
    token = answer.body.access_token;
    expires = Date.now() + Number(answer.body.expires_in) * 1000;
    client.addDefaultHeader("Authorization", `Bearer ${token}`);
  }).finally(() => { minting = null; });
  await minting;
}

function definition(order) {
  const [signer] = order.signers;
  const person = { name: signer.name, email: signer.email, clientUserId: signer.key };
  const [document] = order.documents;
  if (document.template) {
    return { status: "sent", templateId: template, templateRoles: [{ ...person, roleName: signer.role }] };
  }
  return {
    status: "sent", emailSubject: "Contract",
    documents: [{ documentId: "1", name: document.name, fileExtension: "pdf", documentBase64: document.content_base64 }],
    recipients: { signers: [{ ...person, recipientId: "1", tabs: { signHereTabs: [{ anchorString: "/sn1/" }] } }] },
  };
}

async function sign(order) {
  await fresh();
  const made = await envelopes.createEnvelope(account, { envelopeDefinition: definition(order) });
  const [signer] = order.signers;
  const view = await envelopes.createRecipientView(account, made.envelopeId, {
    recipientViewRequest: {
      returnUrl: signer.return_url, authenticationMethod: "none", userName: signer.name, email: signer.email,
      clientUserId: signer.key,
    },
  });
  return { envelope_id: made.envelopeId, url: view.url };
}

const server = createServer((request, response) => {
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", async () => {
    try {
      const answer = await sign(JSON.parse(Buffer.concat(pieces)));
      response.writeHead(201, { "content-type": "application/json" }).end(JSON.stringify(answer));
    } catch (error) {
      response.writeHead(502).end(String(error));
    }
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, "127.0.0.1", 4096, () => console.log(`http://127.0.0.1:${server.address().port}`));
