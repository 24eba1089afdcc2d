# pip install cryptography
import base64
import json
import time

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def verify_result(token, jwks, caller, now=None):
    """The claims of a genuine result. `jwks`: what /.well-known/jwks.json holds; `caller`: your name in the settings."""

    def decode(part):
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))

    try:
        head, body, signature = token.split(".")
        header, claims = json.loads(decode(head)), json.loads(decode(body))
        key = next(key for key in jwks["keys"] if key["kid"] == header["kid"])
        if header["alg"] != "EdDSA":
            raise ValueError("another algorithm")
        public_key = Ed25519PublicKey.from_public_bytes(decode(key["x"]))
        public_key.verify(decode(signature), f"{head}.{body}".encode())
    except (InvalidSignature, KeyError, StopIteration, TypeError, ValueError) as error:
        raise ValueError("not a result of countersign") from error
    if claims["iss"] != "countersign" or claims["aud"] != caller:
        raise ValueError("made for somebody else")
    if claims["exp"] < (time.time() if now is None else now):
        raise ValueError("too old")
    return claims
