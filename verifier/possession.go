// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file is about tokens that are bound to a key of whom they were issued to:
// they are worth nothing in the hands of anybody else.

package verifier

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// certificateThumbprint is the member of cnf that names a client certificate (RFC 8705
// section 3.1).
const certificateThumbprint = "x5t#S256"

// confirmation returns what c is bound to, as cnf says (RFC 7800). An introspection
// response can say by its token_type alone that there is a key (RFC 9449 section 6.2).
func (c claims) confirmation() (cnf map[string]any, bound, ok bool) {
	v, bound := c["cnf"]
	if !bound {
		kind, _ := c.text("token_type")
		return nil, strings.EqualFold(kind, "DPoP"), true
	}
	cnf, ok = v.(map[string]any)
	return cnf, true, ok && len(cnf) > 0
}

// proven returns info, unless c says that the token is bound to a key and neither the
// client certificate of r nor Config.Possession says that the sender has it.
func (v *Verifier) proven(ctx context.Context, token string, c claims, info *otelmcp.TokenInfo, r *http.Request) (*otelmcp.TokenInfo, error) {
	cnf, bound, ok := c.confirmation()
	switch {
	case !ok:
		return nil, refuse(semconv.OTelMCPAuthReasonMalformedCredentials, "what the token is bound to cannot be read (cnf)", info)
	case !bound, byCertificate(cnf, r):
		return info, nil
	case v.possession == nil:
		return nil, refuse(semconv.OTelMCPAuthReasonUnprovenPossession, "the token is bound to a key (cnf), and no client certificate proves that the sender has it", info)
	}
	proven, err := v.possession(ctx, token, cnf, r)
	switch {
	case err != nil:
		return nil, unavailable("it could not be found out whether the sender has the key that the token is bound to (cnf)", err)
	case !proven:
		return nil, refuse(semconv.OTelMCPAuthReasonUnprovenPossession, "the token is bound to a key (cnf), and the sender did not prove that it has it", info)
	}
	return info, nil
}

// byCertificate reports whether r came over a connection whose client has the key
// of the certificate that cnf names, and cnf asks for nothing else. Who issued the
// certificate does not matter (RFC 8705 section 2.2): the handshake proves the key.
func byCertificate(cnf map[string]any, r *http.Request) bool {
	want, ok := cnf[certificateThumbprint].(string)
	if !ok || len(cnf) != 1 || r == nil || r.TLS == nil || !r.TLS.HandshakeComplete || len(r.TLS.PeerCertificates) == 0 {
		return false
	}
	sum := sha256.Sum256(r.TLS.PeerCertificates[0].Raw)
	return want == base64.RawURLEncoding.EncodeToString(sum[:])
}
