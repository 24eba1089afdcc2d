// Go 1.18 or later; no module is needed.
package result

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// Claims is what a result states. Status is the one word to act on; Claim is what the browser said.
type Claims struct {
	Issuer    string `json:"iss"`
	Audience  string `json:"aud"`
	Signing   string `json:"sub"`
	Expires   int64  `json:"exp"`
	Status    string `json:"status"`
	Claim     string `json:"claim"`
	Reference string `json:"reference"`
}

// Keys is what /.well-known/jwks.json holds.
type Keys struct {
	Keys []struct{ Kid, X string }
}

// Verify answers the claims of a genuine result; caller is your name in the settings.
func Verify(token string, keys Keys, caller string, now time.Time) (claims Claims, err error) {
	notOurs := errors.New("not a result of countersign")
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims, notOurs
	}
	var decoded [3][]byte
	for at, part := range parts {
		if decoded[at], err = base64.RawURLEncoding.DecodeString(part); err != nil {
			return claims, notOurs
		}
	}
	var header struct{ Alg, Kid string }
	if json.Unmarshal(decoded[0], &header) != nil || header.Alg != "EdDSA" {
		return claims, notOurs
	}
	signed := []byte(parts[0] + "." + parts[1])
	for _, key := range keys.Keys {
		public, err := base64.RawURLEncoding.DecodeString(key.X)
		if key.Kid != header.Kid || err != nil || len(public) != ed25519.PublicKeySize {
			continue
		}
		if !ed25519.Verify(public, signed, decoded[2]) || json.Unmarshal(decoded[1], &claims) != nil {
			return Claims{}, notOurs
		}
		if claims.Issuer != "countersign" || claims.Audience != caller {
			return Claims{}, errors.New("made for somebody else")
		}
		if claims.Expires < now.Unix() {
			return Claims{}, errors.New("too old")
		}
		return claims, nil
	}
	return claims, notOurs
}
