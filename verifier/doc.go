// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file is the package documentation.

// Package verifier verifies the access tokens of an OAuth 2.0 or OpenID Connect
// authorization server, for otelmcp.RequireBearer:
//
//	v, err := verifier.New(ctx, verifier.Config{
//		Issuer:   "https://login.example.com",
//		Audience: []string{"https://mcp.example.com/mcp"},
//	})
//	if err != nil {
//		return err // a mistake in the configuration; the network was not used
//	}
//	auth := otelmcp.RequireBearer(v.Verify, otelmcp.WithResource("https://mcp.example.com/mcp"))
//
// It is a module of its own, so that nobody else carries what it is built on.
//
// # What it accepts
//
// JWT access tokens (RFC 9068, and plain JWTs as most servers issue them), signed
// with a key of the authorization server's JWK set, and, with
// [Config.Introspection], opaque tokens that the server says are active (RFC
// 7662). A token must come from exactly [Config.Issuer], name at least one of
// [Config.Audience], and be within its time. What a token says is believed after
// its signature was verified. One claim is looked at before, and only to refuse: a
// token that none of the keys at hand has signed, and that itself names another
// issuer, does not have the keys fetched again.
//
// The header parameters jku, x5u, jwk and x5c never choose a key, crit is refused,
// and so are a name that occurs twice in one JSON object, ID tokens, logout tokens
// and other JWTs that can be told from an access token.
//
// # Tokens that are bound to a key
//
// A token with the claim cnf (RFC 7800) was issued to whoever has a certain key. Taken
// as a plain bearer token it would be of use to a thief, so it is refused (RFC 8705
// section 3, RFC 9449 section 7.2) unless the sender proves that it has the key:
//
//   - A token that is bound to a certificate (x5t#S256) is accepted over a connection
//     that this process ended itself, with that certificate of the client. The server
//     must ask for one, with tls.Config.ClientAuth of tls.RequestClientCert or more.
//   - For DPoP (jkt), for a certificate that a proxy in front has checked, and for all
//     else, [Config.Possession] says whether the sender proved it.
//
// The binding counts wherever it stands: in the token or in the introspection response.
//
// # What it answers
//
// A refusal is a *otelmcp.TokenError, with one of the semconv.OTelMCPAuthReason
// values and, where the token was verified before it was refused, whose it is:
//
//	malformed_credentials  no JWT that can be read, and no introspection to ask
//	bad_signature          the signature, its algorithm or its key is not right
//	unknown_issuer         another issuer's token
//	audience_mismatch      meant for somebody else
//	expired, not_yet_valid by exp, nbf and iat, give or take Config.ClockSkew
//	revoked                no longer active, though its own time is not known to be over
//	unproven_possession    bound to a key that the sender did not prove to have
//	invalid_credentials    no access token, or not active for a reason unknown
//	verifier_unavailable   it could not be found out
//
// Whose a token was is known from claims whose signature is good, from what the
// authorization server said of an opaque token when it was active, or from what it says of
// one that is not (RFC 7662 asks it not to). Nothing else that a sender wrote is believed.
//
// The last is about the verifier: RequireBearer answers it with 503, and lets
// nobody through. A discovery document that names another issuer (RFC 8414 section
// 3.3) is one of these too, and not issuer_mismatch: the fault is in the
// configuration or in the server, and a client told that its token is bad would
// throw a good one away. No error holds any part of a token, nor does anything that
// it wraps.
//
// # When the authorization server is asked
//
// Never by [New]. The first token has the metadata and the keys fetched; they stay
// fresh as long as Cache-Control says, within a minute and an hour, or 15 minutes.
// A key id that is not among them has them fetched again, though never more often
// than every 5 seconds, whoever asks. While the server is down, the last good keys
// are used until they are 6 hours old. Answers are bounded in size and in time, and
// redirects are not followed. Callers share a fetch: one whose context ends stops
// waiting, and the fetch goes on in a context of its own. No goroutine is left
// when it is over.
//
// # What it is built on
//
// github.com/go-jose/go-jose/v4, the one dependency. Compared, late in 2026:
//
//   - go-jose v4 (Apache-2.0): five releases from March to November, a published threat
//     model, no dependencies. Demands an algorithm list to parse at all; its JSON reader refuses
//     names that occur twice. Leaves claims and key fetching to the caller.
//   - coreos/go-oidc v3 (Apache-2.0): go-jose with discovery and a key set, and oauth2. For
//     ID tokens: fixed leeway, a fetch for every unknown kid, unbounded answers, the
//     network needed at the start for discovery, response bodies in its errors.
//   - lestrrat-go/jwx v3 (MIT): complete and well kept, but 38,000 lines and eleven
//     dependencies; its key cache runs goroutines of its own.
//   - golang-jwt v5 (MIT): small and kept, without JWK sets. MicahParks/jwkset (Apache-2.0)
//     adds them; its last release is from 2024, and it refreshes in a goroutine.
//
// What decided: the cryptography and the parsing of JOSE are the library's, and the
// rules about when to fetch, which are what an attacker plays with, are in plain
// view here.
//
// # Limits
//
// DPoP proofs are not verified here: [Config.Possession] is for a program that does.
// Encrypted JWTs are opaque to it. Made-up opaque tokens reach the introspection
// endpoint once each; limit the rate of callers in front.
package verifier
