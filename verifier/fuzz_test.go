// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file fuzzes the verifier: whatever it accepts, the server has signed.

package verifier

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func FuzzVerify(f *testing.F) {
	s := newAuthServer(f)
	s.setKeys(
		jose.JSONWebKey{Key: rsaKey().Public(), KeyID: "rsa"},
		jose.JSONWebKey{Key: ecKey().Public(), KeyID: "ec"},
	)
	v, k := newVerifier(f, s, nil)
	// What was signed, by its decoded header and claims: the same bytes can be spelled
	// in more than one way (RFC 4648 section 3.5).
	ours := map[string]bool{}
	seed := func(token string) {
		f.Add(token)
		p := strings.Split(token, ".")
		f.Add(b64(`{"alg":"none"}`) + "." + p[1] + ".")
		f.Add(b64(`{"alg":"HS256","kid":"rsa"}`) + "." + p[1] + "." + p[2])
		f.Add(p[0] + "." + p[1] + ".")
		f.Add(p[0] + "." + p[1])
		ours[signed(token)] = true
	}
	seed(s.good(f, k, nil))
	seed(sign(f, jose.ES256, ecKey(), map[string]any{"kid": "ec"}, s.claims(k, nil)))
	seed(sign(f, jose.PS512, rsaKey(), nil, s.claims(k, map[string]any{"aud": []string{"x", resource}})))
	f.Add(sign(f, jose.RS256, otherRSA(), map[string]any{"kid": "rsa"}, s.claims(k, nil)))
	f.Add("..")
	f.Add("")

	f.Fuzz(func(t *testing.T, token string) {
		info, err := v.Verify(t.Context(), token, nil)
		switch {
		case err == nil && (info == nil || !ours[signed(token)]):
			t.Fatalf("accepted: %q", token)
		case err != nil && info != nil:
			t.Fatal("refused, and told who")
		case err != nil:
			checkNothingShown(t, token, err)
		}
	})
}

func signed(token string) string {
	p := strings.Split(token, ".")
	if len(p) != 3 {
		return ""
	}
	header, _ := base64.RawURLEncoding.DecodeString(p[0])
	payload, _ := base64.RawURLEncoding.DecodeString(p[1])
	return string(header) + "." + string(payload)
}
