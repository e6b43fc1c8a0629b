package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
)

// signatures checks X-Hub-Signature-256 (docs.github.com, "Validating webhook deliveries"). The SHA-1 header is
// never looked at.
type signatures struct{ secrets [][]byte }

func newSignatures(secrets [][]byte) (signatures, error) {
	if len(secrets) == 0 {
		return signatures{}, errors.New("no webhook secret is configured; set github.webhook_secret_files")
	}
	for _, s := range secrets {
		if len(s) == 0 {
			return signatures{}, errors.New("a webhook secret is empty; anybody could sign with it")
		}
	}
	return signatures{secrets}, nil
}

// parseSignature takes the header's value apart.
func parseSignature(header string) (mac []byte, ok bool) {
	text, ok := strings.CutPrefix(header, "sha256=")
	if !ok || len(text) != 2*sha256.Size {
		return nil, false
	}
	mac, err := hex.DecodeString(text)
	return mac, err == nil
}

// match reports whether any of the secrets signed body, in a time that does not tell which.
func (s signatures) match(mac, body []byte) bool {
	matched := false
	for _, secret := range s.secrets {
		h := hmac.New(sha256.New, secret)
		h.Write(body)
		if hmac.Equal(h.Sum(nil), mac) {
			matched = true
		}
	}
	return matched
}
