// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file tests what is accepted, each reason to refuse, and the attacks on JWTs
// that are known.

package verifier

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/otelmcp/otelmcp-go/otelmcp"
	"github.com/otelmcp/otelmcp-go/semconv"
)

func TestAcceptsWithEveryAlgorithm(t *testing.T) {
	s := newAuthServer(t)
	keys := map[string]crypto.Signer{"rsa": rsaKey(), "p256": ecKey(), "p384": ec384(), "p521": ec521(), "ed": edKey()}
	var set []any
	for id, k := range keys {
		set = append(set, jose.JSONWebKey{Key: k.Public(), KeyID: id})
	}
	s.setKeys(set...)
	v, k := newVerifier(t, s, nil)
	for alg, id := range map[jose.SignatureAlgorithm]string{
		jose.RS256: "rsa", jose.RS384: "rsa", jose.RS512: "rsa", jose.PS256: "rsa", jose.PS384: "rsa", jose.PS512: "rsa",
		jose.ES256: "p256", jose.ES384: "p384", jose.ES512: "p521", jose.EdDSA: "ed",
	} {
		for _, header := range []map[string]any{
			{"kid": id, "typ": "at+jwt"}, {"kid": id, "typ": "JWT"}, {"kid": id}, {"typ": "application/at+jwt"}, {},
		} {
			accepted(t, v, sign(t, alg, keys[id], header, s.claims(k, nil)))
		}
	}
	if n := s.count("/jwks"); n != 1 {
		t.Errorf("keys fetched %d times, want once", n)
	}
}

func TestInfo(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, func(c *Config) { c.RolesClaim = "realm_access.roles" })
	info := accepted(t, v, s.good(t, k, map[string]any{
		"aud":          []string{"https://other.example.com", resource},
		"realm_access": map[string]any{"roles": []string{"admin", "dev"}},
	}))
	if info.UserID != "user-alice-0001" || info.ClientID != "client-desktop-app" || info.Issuer != s.URL ||
		!slices.Equal(info.Audience, []string{"https://other.example.com", resource}) ||
		!slices.Equal(info.Scopes, []string{"tools:read", "tools:call"}) || !slices.Equal(info.Roles, []string{"admin", "dev"}) ||
		info.Mechanism != semconv.OTelMCPAuthMechanismBearerJWT || info.Extra["canary"] == nil ||
		!info.Expiration.Equal(k.now().Add(time.Hour+defaultSkew)) {
		t.Errorf("info = %+v", info)
	}

	for _, tt := range []struct {
		name    string
		roles   string
		changes map[string]any
		want    otelmcp.TokenInfo
	}{
		{"scp as an array, azp", "", map[string]any{"scope": nil, "scp": []string{"a", "b"}, "client_id": nil, "azp": "app"}, otelmcp.TokenInfo{Scopes: []string{"a", "b"}, ClientID: "app"}},
		{"scp as a string", "", map[string]any{"scope": nil, "scp": "a b"}, otelmcp.TokenInfo{Scopes: []string{"a", "b"}, ClientID: "client-desktop-app"}},
		{"scopes of another type grant nothing", "", map[string]any{"scope": []any{"a", 1}}, otelmcp.TokenInfo{ClientID: "client-desktop-app"}},
		{"roles of RFC 9068", "", map[string]any{"scope": nil, "roles": []string{"r"}}, otelmcp.TokenInfo{Roles: []string{"r"}, ClientID: "client-desktop-app"}},
		{"a namespaced claim", "https://example.com/roles", map[string]any{"scope": nil, "https://example.com/roles": "r"}, otelmcp.TokenInfo{Roles: []string{"r"}, ClientID: "client-desktop-app"}},
		{"a path that leads nowhere", "sub.roles", map[string]any{"scope": nil}, otelmcp.TokenInfo{ClientID: "client-desktop-app"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, k := newVerifier(t, s, func(c *Config) { c.RolesClaim = tt.roles })
			info := accepted(t, v, s.good(t, k, tt.changes))
			if !slices.Equal(info.Scopes, tt.want.Scopes) || !slices.Equal(info.Roles, tt.want.Roles) || info.ClientID != tt.want.ClientID {
				t.Errorf("info = %+v, want %+v", info, tt.want)
			}
		})
	}
}

// Each claim, at and beyond what is allowed.
func TestClaims(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, nil)
	in := func(d time.Duration) int64 { return k.now().Add(d).Unix() }
	for _, tt := range []struct {
		name    string
		changes map[string]any
		reason  string // "" is accepted
		known   bool   // whether it is told whose the token is
	}{
		{"expired by less than the skew", map[string]any{"exp": in(-defaultSkew + time.Second)}, "", true},
		{"expired by the skew", map[string]any{"exp": in(-defaultSkew)}, semconv.OTelMCPAuthReasonExpired, true},
		{"expired by a second more", map[string]any{"exp": in(-defaultSkew - time.Second)}, semconv.OTelMCPAuthReasonExpired, true},
		{"expired in 1970", map[string]any{"exp": 0}, semconv.OTelMCPAuthReasonExpired, true},
		{"never expires", map[string]any{"exp": nil}, semconv.OTelMCPAuthReasonMalformedCredentials, true},
		{"exp is text", map[string]any{"exp": "tomorrow"}, semconv.OTelMCPAuthReasonMalformedCredentials, false},
		{"exp beyond all time", map[string]any{"exp": 1e300}, semconv.OTelMCPAuthReasonMalformedCredentials, false},
		{"exp before all time", map[string]any{"exp": -1}, semconv.OTelMCPAuthReasonMalformedCredentials, false},
		{"nbf within the skew", map[string]any{"nbf": in(defaultSkew)}, "", true},
		{"nbf beyond the skew", map[string]any{"nbf": in(defaultSkew + time.Second)}, semconv.OTelMCPAuthReasonNotYetValid, true},
		{"issued beyond the skew", map[string]any{"iat": in(defaultSkew + time.Second)}, semconv.OTelMCPAuthReasonNotYetValid, true},
		{"wrong audience", map[string]any{"aud": "https://elsewhere.example"}, semconv.OTelMCPAuthReasonAudienceMismatch, true},
		{"a token for another resource, passed on", map[string]any{"aud": []string{"https://api.example.com", resource + "/admin"}}, semconv.OTelMCPAuthReasonAudienceMismatch, true},
		{"audience in another case", map[string]any{"aud": strings.ToUpper(resource)}, semconv.OTelMCPAuthReasonAudienceMismatch, true},
		{"no audience", map[string]any{"aud": nil}, semconv.OTelMCPAuthReasonAudienceMismatch, true},
		{"empty audience", map[string]any{"aud": []string{}}, semconv.OTelMCPAuthReasonAudienceMismatch, true},
		{"audience of objects", map[string]any{"aud": []any{map[string]any{resource: resource}}}, semconv.OTelMCPAuthReasonMalformedCredentials, false},
		{"issuer with a slash", map[string]any{"iss": s.URL + "/"}, semconv.OTelMCPAuthReasonUnknownIssuer, false},
		{"another issuer", map[string]any{"iss": "https://evil.example"}, semconv.OTelMCPAuthReasonUnknownIssuer, false},
		{"no issuer", map[string]any{"iss": nil}, semconv.OTelMCPAuthReasonUnknownIssuer, false},
		{"issuer is a number", map[string]any{"iss": 1}, semconv.OTelMCPAuthReasonMalformedCredentials, false},
		{"subject is a number", map[string]any{"sub": 1}, semconv.OTelMCPAuthReasonMalformedCredentials, false},
		{"subject is null", map[string]any{"sub": any((*int)(nil))}, semconv.OTelMCPAuthReasonMalformedCredentials, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			token := s.good(t, k, tt.changes)
			if tt.reason == "" {
				accepted(t, v, token)
				return
			}
			e := refusal(t.Context(), t, v, token, tt.reason)
			known := e.Info != nil && e.Info.UserID == "user-alice-0001" && e.Info.ClientID == "client-desktop-app" && e.Info.Issuer == s.URL
			if known != tt.known {
				t.Errorf("info = %+v, want known: %v", e.Info, tt.known)
			}
		})
	}
}

// A JWT of the same server that is no access token.
func TestOtherTokensOfTheServer(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, nil)
	for _, tt := range []struct {
		name    string
		typ     any
		changes map[string]any
		ok      bool
	}{
		{"ID token of an implicit flow", "JWT", map[string]any{"at_hash": "x"}, false},
		{"ID token of a hybrid flow", "JWT", map[string]any{"c_hash": "x"}, false},
		{"ID token of a code flow", "JWT", map[string]any{"nonce": "n", "scope": nil, "client_id": nil}, false},
		{"ID token that says so", "JWT", map[string]any{"typ": "ID"}, false},
		{"refresh token", "JWT", map[string]any{"typ": "Refresh"}, false},
		{"token_use", nil, map[string]any{"token_use": "id"}, false},
		{"logout token", "logout+jwt", nil, false},
		{"logout token of an old kind", "JWT", map[string]any{"events": map[string]any{}}, false},
		{"DPoP proof", "dpop+jwt", nil, false},
		{"typ is a number", 1, nil, false},
		{"access token with a nonce", "JWT", map[string]any{"nonce": "n"}, true},
		{"access token that says so", "JWT", map[string]any{"typ": "Bearer", "token_use": "access"}, true},
		{"access token in capitals", "AT+JWT", nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			header := map[string]any{"kid": "rsa"}
			if tt.typ != nil {
				header["typ"] = tt.typ
			}
			token := sign(t, jose.RS256, rsaKey(), header, s.claims(k, tt.changes))
			if tt.ok {
				accepted(t, v, token)
			} else if e := refusal(t.Context(), t, v, token, semconv.OTelMCPAuthReasonInvalidCredentials); e.Info == nil {
				t.Error("it does not say whose it is")
			}
		})
	}
}

func TestForgeries(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, nil)
	good := s.good(t, k, nil)
	part := strings.Split(good, ".")
	evil := otherRSA()
	claim := s.claims(k, nil)
	der := must(x509.MarshalPKIXPublicKey(rsaKey().Public()))
	pkcs1 := x509.MarshalPKCS1PublicKey(&rsaKey().PublicKey)
	cert := must(x509.CreateCertificate(rand.Reader, template(), template(), evil.Public(), evil))
	public := jose.JSONWebKey{Key: evil.Public(), KeyID: "rsa"}

	const bad, malformed = semconv.OTelMCPAuthReasonBadSignature, semconv.OTelMCPAuthReasonMalformedCredentials
	tests := []struct{ name, token, reason string }{
		{"another's key", sign(t, jose.RS256, evil, map[string]any{"kid": "rsa"}, claim), bad},
		{"another's key, no kid", sign(t, jose.RS256, evil, nil, claim), bad},
		{"another's key and issuer", sign(t, jose.RS256, evil, nil, s.claims(k, map[string]any{"iss": "https://evil.example"})), semconv.OTelMCPAuthReasonUnknownIssuer},
		{"an EC key by the id of the RSA key", sign(t, jose.ES256, ecKey(), map[string]any{"kid": "rsa"}, claim), bad},
		{"jwk", sign(t, jose.RS256, evil, map[string]any{"kid": "rsa", "jwk": public}, claim), bad},
		{"jwk without kid", sign(t, jose.RS256, evil, map[string]any{"jwk": public}, claim), bad},
		{"jwk of a secret", sign(t, jose.RS256, evil, map[string]any{"jwk": map[string]any{"kty": "oct", "k": "c2VjcmV0LXNlY3JldA"}}, claim), malformed},
		{"jku", sign(t, jose.RS256, evil, map[string]any{"kid": "rsa", "jku": s.URL + "/evil"}, claim), bad},
		{"x5u", sign(t, jose.RS256, evil, map[string]any{"kid": "rsa", "x5u": s.URL + "/evil"}, claim), bad},
		{"x5c", sign(t, jose.RS256, evil, map[string]any{"kid": "rsa", "x5c": []string{base64.StdEncoding.EncodeToString(cert)}}, claim), bad},
		{"crit", sign(t, jose.RS256, rsaKey(), map[string]any{"kid": "rsa", "crit": []string{"exp"}}, claim), malformed},
		{"crit of b64", sign(t, jose.RS256, rsaKey(), map[string]any{"kid": "rsa", "b64": true, "crit": []string{"b64"}}, claim), malformed},
		{"crit of nothing", sign(t, jose.RS256, rsaKey(), map[string]any{"kid": "rsa", "crit": nil}, claim), malformed},
		{"other claims under the signature", part[0] + "." + b64(`{"iss":"`+s.URL+`","sub":"root","aud":"`+resource+`","exp":9999999999}`) + "." + part[2], bad},
		{"no signature", part[0] + "." + part[1] + ".", bad},
		{"half a signature", good[:len(good)-100], bad},
		{"no claims", part[0] + ".." + part[2], bad},
		{"half a token", good[:len(good)/2], malformed},
		{"two parts", part[0] + "." + part[1], malformed},
		{"five parts", good + ".a.b", malformed},
		{"a header twice", part[0] + "." + good, malformed},
		{"header names alg twice", b64(`{"alg":"RS256","alg":"none"}`) + "." + part[1] + "." + part[2], malformed},
		{"header without alg", b64(`{"kid":"rsa"}`) + "." + part[1] + "." + part[2], malformed},
		{"alg is null", b64(`{"alg":null}`) + "." + part[1] + "." + part[2], bad},
		{"alg is a list", b64(`{"alg":["RS256"]}`) + "." + part[1] + "." + part[2], bad},
		{"header is a list", b64(`["RS256"]`) + "." + part[1] + "." + part[2], malformed},
		{"garbage", "garbage", malformed},
		{"garbage in three parts", "gar.ba.ge", malformed},
		{"nothing", "", malformed},
		{"dots", "..", malformed},
		{"JSON serialization", `{"payload":"` + part[1] + `","protected":"` + part[0] + `","signature":"` + part[2] + `"}`, malformed},
		{"a line feed inside", good[:20] + "\n" + good[20:], malformed},
		{"a space before", " " + good, malformed},
		{"padding", part[0] + "==." + part[1] + "." + part[2], malformed},
		{"very long", strings.Repeat("a", maxToken+1), malformed},
		{"very long JWT", good + strings.Repeat("A", maxToken), malformed},
		{"deep header", b64(`{"alg":"RS256","x":`+strings.Repeat("[", 10000)+"}") + ".e30.c2ln", malformed},
		{"claims are a list", sign(t, jose.RS256, rsaKey(), map[string]any{"kid": "rsa"}, []byte(`[1]`)), malformed},
		{"claims are null", sign(t, jose.RS256, rsaKey(), map[string]any{"kid": "rsa"}, []byte(`null`)), malformed},
		{"claims are nothing", sign(t, jose.RS256, rsaKey(), map[string]any{"kid": "rsa"}, []byte(``)), malformed},
		{"claims and more", sign(t, jose.RS256, rsaKey(), map[string]any{"kid": "rsa"}, []byte(`{} {}`)), malformed},
		{"sub twice", sign(t, jose.RS256, rsaKey(), map[string]any{"kid": "rsa"}, []byte(`{"iss":"`+s.URL+`","aud":"`+resource+`","exp":9999999999,"sub":"a","sub":"b"}`)), malformed},
		{"a name twice further inside", sign(t, jose.RS256, rsaKey(), map[string]any{"kid": "rsa"}, []byte(`{"iss":"`+s.URL+`","aud":"`+resource+`","exp":9999999999,"a":{"r":1,"r":2}}`)), malformed},
	}
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "", "null", "HS256", "RS256 ", "rs256", "ES256K", "A128KW"} {
		for name, signature := range map[string]string{"": "", ", signed": part[2]} {
			tests = append(tests, struct{ name, token, reason string }{"alg " + alg + name, b64(`{"alg":"`+alg+`","kid":"rsa","typ":"JWT"}`) + "." + part[1] + "." + signature, bad})
		}
	}
	for name, secret := range map[string][]byte{
		"PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "DER": der,
		"PEM of PKCS 1": pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1}), "DER of PKCS 1": pkcs1,
		"modulus": rsaKey().N.Bytes(), "nothing": make([]byte, 64),
	} {
		for _, alg := range []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512} {
			tests = append(tests, struct{ name, token, reason string }{string(alg) + " with the public key as " + name, sign(t, alg, secret, map[string]any{"kid": "rsa"}, claim), bad})
		}
	}
	for name, kid := range map[string]string{
		"path": "../../../../../../dev/null", "SQL": "x' UNION SELECT 'secret-secret'; --", "URL": s.URL + "/evil",
		"long": strings.Repeat("k", 8000), "unknown": "unknown-key-id", "control": "rsa\x00\r\n", "format": "%s%n%!v(PANIC)",
	} {
		for _, who := range []*rsa.PrivateKey{evil, rsaKey()} {
			tests = append(tests, struct{ name, token, reason string }{"kid " + name, sign(t, jose.RS256, who, map[string]any{"kid": kid}, claim), bad})
		}
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if e := refusal(t.Context(), t, v, tt.token, tt.reason); e.Info != nil && tt.reason != malformed {
				t.Errorf("something of a forgery is taken for verified: %+v", e.Info)
			}
		})
	}
	if n := s.count("/evil"); n != 0 {
		t.Errorf("a token had something fetched %d times", n)
	}
	if n := s.count("/jwks"); n != 1 {
		t.Errorf("keys fetched %d times, want once: the clock stood still", n)
	}
	accepted(t, v, good)
}

func template() *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "evil"}, NotAfter: time.Now().Add(time.Hour)}
}

func TestAlgorithmsNarrowed(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, func(c *Config) { c.Algorithms = []string{"PS256"} })
	accepted(t, v, sign(t, jose.PS256, rsaKey(), nil, s.claims(k, nil)))
	refused(t, v, s.good(t, k, nil), semconv.OTelMCPAuthReasonBadSignature)
}

func TestNewRefuses(t *testing.T) {
	good := func() Config {
		return Config{
			Issuer: "https://as.example", Audience: []string{resource},
			Introspection: &Introspection{URL: "https://as.example/introspect", ClientID: "i", ClientSecret: "top-secret"},
		}
	}
	if _, err := New(t.Context(), good()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"Issuer is required":             func(c *Config) { c.Issuer = "" },
		"Issuer is not an absolute":      func(c *Config) { c.Issuer = "as.example" },
		"Issuer must be https":           func(c *Config) { c.Issuer = "http://as.example" },
		"Issuer must have neither":       func(c *Config) { c.Issuer = "https://as.example/?x=1" },
		"Issuer must not hold":           func(c *Config) { c.Issuer = "https://u:top-secret@as.example" },
		"Audience must name":             func(c *Config) { c.Audience = nil },
		"hold no empty name":             func(c *Config) { c.Audience = []string{""} },
		`must not hold "none"`:           func(c *Config) { c.Algorithms = []string{"RS256", "none"} },
		`anybody could issue`:            func(c *Config) { c.Algorithms = []string{"NONE"} },
		`must not hold "HS256"`:          func(c *Config) { c.Algorithms = []string{"HS256"} },
		`must not hold "HS512"`:          func(c *Config) { c.Algorithms = []string{"HS512"} },
		`holds "RS1"`:                    func(c *Config) { c.Algorithms = []string{"RS1"} },
		"ClockSkew must be between":      func(c *Config) { c.ClockSkew = maxSkew + 1 },
		"ClockSkew must be":              func(c *Config) { c.ClockSkew = -1 },
		"JWKSURL must be https":          func(c *Config) { c.JWKSURL = "ftp://as.example/jwks" },
		"Introspection.URL is required":  func(c *Config) { c.Introspection.URL = "" },
		"Introspection.URL must be":      func(c *Config) { c.Introspection.URL = "http://as.example" },
		"needs ClientID":                 func(c *Config) { c.Introspection.ClientID = "" },
		"ClientSecret":                   func(c *Config) { c.Introspection.ClientSecret = "" },
		"Introspection.CacheTime must b": func(c *Config) { c.Introspection.CacheTime = time.Hour },
	} {
		c := good()
		change(&c)
		v, err := New(t.Context(), c)
		if err == nil || v != nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "top-secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The verifier where it is meant to be.
func TestRequireBearer(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, nil)
	h := otelmcp.RequireBearer(v.Verify, otelmcp.WithResource(resource))(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(otelmcp.TokenInfoFromContext(r.Context()).UserID))
	}))
	ask := func(token string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, resource, http.NoBody)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	in := func(d time.Duration) map[string]any { return map[string]any{"exp": k.now().Add(d).Unix()} }
	if w := ask(s.good(t, k, nil)); w.Code != http.StatusOK || w.Body.String() != "user-alice-0001" {
		t.Errorf("good: %d %s", w.Code, w.Body)
	}
	if w := ask(s.good(t, k, in(-10*time.Second))); w.Code != http.StatusOK {
		t.Errorf("expired within the skew: %d %s", w.Code, w.Body)
	}
	if w := ask(s.good(t, k, in(-time.Minute))); w.Code != http.StatusUnauthorized || !strings.Contains(w.Header().Get("WWW-Authenticate"), "invalid_token") {
		t.Errorf("expired: %d %v", w.Code, w.Header())
	}
	down, k2 := newVerifier(t, s, func(c *Config) { c.JWKSURL = s.URL + "/nothing" })
	v.keys = down.keys
	if w := ask(s.good(t, k2, nil)); w.Code != http.StatusServiceUnavailable {
		t.Errorf("outage: %d %s", w.Code, w.Body)
	}
}

// An outage is the verifier's fault, and its cause can be found out.
func TestOutageIsNoInvalidToken(t *testing.T) {
	s := newAuthServer(t)
	v, k := newVerifier(t, s, nil)
	token := s.good(t, k, nil)
	s.Close()
	e := refusal(t.Context(), t, v, token, semconv.OTelMCPAuthReasonVerifierUnavailable)
	if errors.Is(e, otelmcp.ErrInvalidToken) || !strings.Contains(e.Message, "refused") {
		t.Errorf("error = %v", e)
	}
}
