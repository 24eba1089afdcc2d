// Node 18 or later; no package is needed.
import { createPublicKey, verify } from "node:crypto";

/** The claims of a genuine result. `jwks`: what /.well-known/jwks.json holds; `caller`: your name in the settings. */
export function verifyResult(token, jwks, caller, now = Date.now() / 1000) {
  const parts = token.split(".");
  const [head, body, signature] = parts.map((part) => Buffer.from(part, "base64url"));
  const read = (part) => {
    try {
      return JSON.parse(part);
    } catch {
      return {};
    }
  };
  const header = read(head);
  const jwk = jwks.keys.find((key) => key.kid === header.kid);
  const isOurs =
    parts.length === 3 &&
    header.alg === "EdDSA" &&
    jwk !== undefined &&
    verify(null, Buffer.from(`${parts[0]}.${parts[1]}`), createPublicKey({ key: jwk, format: "jwk" }), signature);
  if (!isOurs) throw new Error("not a result of countersign");
  const claims = read(body);
  if (claims.iss !== "countersign" || claims.aud !== caller) throw new Error("made for somebody else");
  if (claims.exp < now) throw new Error("too old");
  return claims;
}
