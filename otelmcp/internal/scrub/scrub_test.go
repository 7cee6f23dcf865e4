// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// This file tests every kind of credential in the forms in which it is really met, the characters that may not
// pass, the cap, and what must stay readable.

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

const plenty = 4096

// The sample credentials are put together at run time, so that no scanner takes this file for a leak.
var (
	jwt    = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9" + "." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0" + "." + "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
	jwe    = "eyJhbGciOiJSU0EtT0FFUCJ9" + "." + "OKOawDo13gRp2ojaHV7L" + "." + "48V1_ALb6US04U3b" + "." + "5eym8TW_c8SuK0lt" + "." + "XFBoMYUZodetZdvT"
	pem    = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7bq0\nCANARYCANARY\n-----END RSA PRIVATE KEY-----"
	tokens = map[string]string{
		"aws access key": "AKIA" + "IOSFODNN7EXAMPLE", "aws session key": "ASIA" + "IOSFODNN7EXAMPLE",
		"github": "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a", "github oauth": "gho_" + "16C7e42F292c6912E7710c838347Ae178B4a",
		"github user": "ghu_" + "16C7e42F292c6912E7710c838347Ae178B4a", "github server": "ghs_" + "16C7e42F292c6912E7710c838347Ae178B4a",
		"github refresh": "ghr_" + "16C7e42F292c6912E7710c838347Ae178B4a",
		"github fine":    "github_" + "pat_11ABCDEFG0abcdefghijkl_mnopqrstuvwxyz0123456789",
		"gitlab":         "glpat-" + "x1Yz2_abCDefGHijKLmn",
		"slack bot":      "xoxb-" + "123456789012-1234567890123-AbCdEfGhIjKlMnOpQrStUvWx",
		"slack user":     "xoxp-" + "123456789012-123456789012-abcdef",
		"slack app":      "xapp-" + "1-A0123-456-abcdef0123456789",
		"openai":         "sk-" + "abcdefghijklmnopqrstT3BlbkFJabcdefghijklmnopqrst",
		"openai letters": "sk-" + "abcdefghijklmnopqrstuvwxyz",
		"openai project": "sk-" + "proj-AbCd_1234-efgh5678ijkl",
		"anthropic":      "sk-" + "ant-api03-AbCdEf-123456_7890abcdef",
		"google api":     "AIza" + "SyDaGmWKa4JsXZ-HjGw7ISLn_3namBGewQe",
		"google oauth":   "ya29." + "a0AfH6SMBx1234567890abcdefghij",
		"google client":  "GOCSPX-" + "abcdefghijklmnopqrstuvwx12",
		"npm":            "npm_" + "abcdefghijklmnopqrstuvwxyz0123456789",
		"pypi":           "pypi-" + "AgEIcHlwaS5vcmcCJDAwMDAwMDAw",
		"huggingface":    "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGh",
		"digitalocean":   "dop_v1_" + "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
		"sendgrid":       "SG." + "ngeVfQFYQlKU0ufo8x5d1A" + "." + "TwL2iGABf9DHoTf-09kqeF8tAmbihYzrnopKc-1s5cr",
		"stripe live":    "sk_" + "live_4eC39HqLyjWDarjtT1zdp7dc", "stripe restricted": "rk_" + "live_4eC39HqLyjWDarjtT1zdp7dc",
		"stripe test": "sk_" + "test_4eC39HqLyjWDarjtT1zdp7dc",
		"vault":       "hvs." + "CAESIJ2qYv3z0123456789abcdef",
		"telegram":    "110201543:" + "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1",
		"discord":     "MTIzNDU2Nzg5MDEyMzQ1Njc4" + "." + "GabcDE" + "." + "abcdefghijklmnopqrstuvwxyz01234567",
		"azure":       "abc8" + "Q~defghijklmnopqrstuvwxyz0123456789ABCD",
		"twilio":      "SK" + "0123456789abcdef0123456789abcdef",
		"jwt":         jwt, "jwe": jwe, "pem": pem,
	}
)

func TestTokens(t *testing.T) {
	for name, secret := range tokens {
		for _, frame := range []string{
			"%s", "bad credential %s in request", "x=%s&y=1", `{"v":"%s"}`, "(%s)", "key:%s", "'%s'", "\x1b[31m%s\x1b[0m",
			"[%s]", "a\n%s\nb", "https://example.com/%s/x",
		} {
			in := fmt.Sprintf(frame, secret)
			for fn, out := range all(in, plenty) {
				noPart(t, name+" "+fn, in, out, secret)
			}
		}
	}
}

// all calls the three functions.
func all(s string, limit int) map[string]string {
	return map[string]string{"Text": Text(s, limit), "URI": URI(s, limit), "Name": Name(s, limit)}
}

// pemFrame is what of a PEM block is no secret.
var pemFrame = "-----BEGIN RSA PRIVATE KEY-----END"

// noPart fails if a recognizable part of the secret is in the output.
func noPart(t *testing.T, what, in, out, secret string) {
	t.Helper()
	for i := 0; i+10 <= len(secret); i++ {
		if part := secret[i : i+10]; strings.Contains(out, part) && !strings.Contains(pemFrame, part) {
			t.Errorf("%s: %q leaks %q: %q", what, in, part, out)
			return
		}
	}
	if len(secret) < 10 && strings.Contains(out, secret) {
		t.Errorf("%s: %q leaks: %q", what, in, out)
	}
}

func TestText(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		// name and value
		{"password=hunter2 ok", "password=[REDACTED] ok"},
		{"password = hunter2", "password = [REDACTED]"},
		{"password:hunter2", "password:[REDACTED]"},
		{"pwd: hunter2, retry", "pwd: [REDACTED], retry"},
		{"user=bob,password=x,host=y", "user=bob,password=[REDACTED],host=y"},
		{"password=a,b;c&d)e host", "password=[REDACTED] host"},
		{"secret := hunter2", "secret := [REDACTED]"},
		{"secret => 'hunter2'", "secret => '[REDACTED]'"},
		{"API_KEY='hun''ter2'", "API_KEY='[REDACTED]'"},
		{`DB_PASS="hunter2" run`, `DB_PASS="[REDACTED]" run`},
		{`token="""hunter2"""`, `token="""[REDACTED]"""`},
		{"api-key: abc123", "api-key: [REDACTED]"},
		{"apikey abc", "apikey abc"},
		{"X-Api-Key: abc123", "X-Api-Key: [REDACTED]"},
		{"Incorrect API key provided: abc123", "Incorrect API key provided: [REDACTED]"},
		{"API key provided: Bearer hunter2 x", "API key provided: [REDACTED] x"},
		{"Bearer bearer hunter2", "Bearer bearer [REDACTED]"},
		{"Authorization: Basic Bearer hunter2", "Authorization: [REDACTED]"},
		{"token: Bearer hunter2", "token: [REDACTED]"},
		{"pwd=x,Bearer hunter2 y", "pwd=[REDACTED] y"},
		{"password: basic", "password: [REDACTED]"},
		{"secret key: abc123", "secret key: [REDACTED]"},
		{"aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "aws_secret_access_key = [REDACTED]"},
		{`{"password":"hun\"ter2","a":1}`, `{"password":"[REDACTED]","a":1}`},
		{`{"password" : "hunter2\\", "a":1}`, `{"password" : "[REDACTED]", "a":1}`},
		{`{"access_token":12345,"a":1}`, `{"access_token":[REDACTED],"a":1}`},
		{`{"secrets":{"a":"b","c":["d"]},"e":1}`, `{"secrets":[REDACTED],"e":1}`},
		{`{"password":"expired"}`, `{"password":"[REDACTED]"}`},
		{`{"token":null,"password":false,"secret":""}`, `{"token":null,"password":false,"secret":""}`},
		{`"{\"password\":\"hun\\\"ter2\",\"b\":2}"`, `"{\"password\":\"[REDACTED]\",\"b\":2}"`},
		{`{'password': 'hunter2'}`, `{'password': '[REDACTED]'}`},
		{`{Password:hunter2 User:bob}`, `{Password:[REDACTED] User:bob}`},
		{"password%3Dhunter2%26x%3D1", "password%3D[REDACTED]%26x%3D1"},
		{"%22password%22%3A%22hunter2%22%7D", "%22password%22%3A%22[REDACTED]%22%7D"},
		{"password%253Dhunter2", "password%253D[REDACTED]"},
		{"form: user=a&password=b&c=d", "form: user=a&password=[REDACTED]&c=d"},
		{"opts[password]=hunter2", "opts[password]=[REDACTED]"},
		{"env['SECRET'] = 'x1'", "env['SECRET'] = '[REDACTED]'"},
		{"<password>hunter2</password>", "<password>[REDACTED]</password>"},
		{"&quot;password&quot;:&quot;hunter2&quot;}", "&quot;password&quot;:&quot;[REDACTED]&quot;}"},
		{"run --password hunter2 -v", "run --password [REDACTED] -v"},
		{`["--api-key", "hunter2"]`, `["--api-key", "[REDACTED]"]`},
		{"password\x1b[0m=\x1b[31mhunter2", "password\uFFFD=\uFFFD[REDACTED]"},
		{"pass\u200bword=hunter2", "pass\uFFFDword=[REDACTED]"},
		{"password=hun\u200bter2 x", "password=[REDACTED] x"},
		{"password:\n  hunter2\n", "password:   [REDACTED] "},
		{"//registry.example.com/:_authToken=abcd", "//registry.example.com/:_authToken=[REDACTED]"},
		{"Server=db;User Id=sa;Password=hunter2;Encrypt=true", "Server=db;User Id=sa;Password=[REDACTED];Encrypt=true"},
		{
			"DefaultEndpointsProtocol=https;AccountName=a;AccountKey=abc==;EndpointSuffix=x",
			"DefaultEndpointsProtocol=https;AccountName=a;AccountKey=[REDACTED];EndpointSuffix=x",
		},
		// headers
		{"Authorization: Bearer abc.def\nHost: x", "Authorization: [REDACTED] Host: x"},
		{"Authorization: Bearer abc, Accept: y", "Authorization: [REDACTED], Accept: y"},
		{"Authorization: Basic dXNlcjpwYXNz", "Authorization: [REDACTED]"},
		{`Authorization: Digest username="Mufasa", response="6629fae49393a05397450978507c4ef1"`, "Authorization: [REDACTED]"},
		{"Authorization: custom a b c\nHost: x", "Authorization: [REDACTED] Host: x"},
		{"curl -H 'Authorization: token abcdef' https://x.example/", "curl -H 'Authorization: [REDACTED]' https://x.example/"},
		{"Proxy-Authorization: Basic dXNlcjpwYXNz", "Proxy-Authorization: [REDACTED]"},
		{"Cookie: a=1; b=2\r\nHost: y", "Cookie: [REDACTED] Host: y"},
		{"set-cookie: sid=abc; Path=/; HttpOnly", "set-cookie: [REDACTED]"},
		{"map[Authorization:[Bearer abc] Cookie:[a=b; c=d] Accept:[x]]", "map[Authorization:[REDACTED] Cookie:[REDACTED] Accept:[x]]"},
		{`{"authorization":"Bearer abc"}`, `{"authorization":"[REDACTED]"}`},
		{"sent Bearer hunter2!", "sent Bearer [REDACTED]!"},
		{"bearer   hunter2", "bearer   [REDACTED]"},
		{"Bearer%20hunter2", "Bearer%20[REDACTED]"},
		{"bad bearer token 0a1b2c3d4e5f6071", "bad bearer token [REDACTED]"},
		{"got Basic dXNlcjpwYXNz.", "got Basic [REDACTED]"},
		{"Basic dGVzdA==", "Basic [REDACTED]"},
		// URIs
		{`Get "https://u:p@h.example/x?y=z#f": dial tcp 1.2.3.4:80: refused`, `Get "https://[REDACTED]@h.example/x?[REDACTED]": dial tcp 1.2.3.4:80: refused`},
		{"see https://h.example/a?b=c.", "see https://h.example/a?[REDACTED]."},
		{"(https://h.example/a#frag)", "(https://h.example/a#[REDACTED])"},
		{"https://h.example:8080/a/b.", "https://h.example:8080/a/b."},
		{"https://[::1]:8080/a and http://h:{port}/", "https://[::1]:8080/a and http://h:{port}/"},
		{"postgres://u:p@ss@h/db", "postgres://[REDACTED]@h/db"},
		{"postgres://u:p/a?ss#w@h/db", "postgres://[REDACTED]"},
		{"postgres://u:p/ass@h/db", "postgres://[REDACTED]@h/db"},
		{"redis://:hunter2@h:6379/0", "redis://[REDACTED]@h:6379/0"},
		{"mongodb://u:p@h1:27017,h2:27017/db?w=1", "mongodb://[REDACTED]@h1:27017,h2:27017/db?[REDACTED]"},
		{"root:hunter2@tcp(1.2.3.4:3306)/db", "[REDACTED]@tcp(1.2.3.4:3306)/db"},
		{"dsn u:p@ss@db.example:5432/x failed", "dsn [REDACTED]@db.example:5432/x failed"},
		{"https%3A%2F%2Fu%3Ap%40h%2F", "https%3A%2F%2F[REDACTED]%40h%2F"},
		{"GET /mcp?sig=abc&x=1 HTTP/1.1", "GET /mcp?[REDACTED] HTTP/1.1"},
		{"users/{id}{?page,size*} at https://h/{x}{?page}", "users/{id}{?page,size*} at https://h/{x}{?page}"},
		{"data:image/png;base64,iVBORw0KGgo= x", "data:image/png;base64,[REDACTED] x"},
		{"post to hooks.slack.com/services/T00/B00/abc failed", "post to hooks.slack.com/services/[REDACTED] failed"},
		{"https://discord.com/api/webhooks/1/abc-def", "https://discord.com/api/webhooks/[REDACTED]"},
		// PEM
		{"before\n" + pem + "\nafter", "before [REDACTED] after"},
		{`{"k":"` + strings.ReplaceAll(pem, "\n", `\n`) + `"}`, `{"k":"[REDACTED]"}`},
		{pem[:60], "[REDACTED]"},
		// characters
		{"a\tb\nc\r\nd\x00e\x7ff", "a b c d\uFFFDe\uFFFDf"},
		{"a\x1b[31;1mred\x1b[0m\x1b]8;;x\x07y", "a\uFFFDred\uFFFD\uFFFD]8;;x\uFFFDy"},
		{"a\u202eb\u2066c\u200dd\ufeffe\u00adf\U000e0041g\u3164h", "a\uFFFDb\uFFFDc\uFFFDd\uFFFDe\uFFFDf\uFFFDg\uFFFDh"},
		{"a\u2028b\u0085c\u00a0d\u3000e", "a b c d e"},
		{"bad\xff\xfeutf8\xc3", "bad\uFFFD\uFFFDutf8\uFFFD"},
		{"grüße 世界 🙂 क़", "grüße 世界 🙂 क़"},
	} {
		if got := Text(c.in, plenty); got != c.want {
			t.Errorf("Text(%q)\n got %q\nwant %q", c.in, got, c.want)
		}
		if got := Text(c.want, plenty); got != c.want {
			t.Errorf("not idempotent: Text(%q)\n got %q", c.want, got)
		}
	}
}

func TestOrdinaryTextStays(t *testing.T) {
	for _, s := range []string{
		"", "ok", "tool 'x' not found", "token expired", "invalid password", "invalid token", "token: expired", "password: must be at least 8 characters",
		"unexpected token: }", "Unexpected token < in JSON at position 0", "unexpected token '=' at line 3",
		"invalid token: signature verification failed", "secret: not found", "missing bearer token", "Bearer authentication required",
		`Bearer realm="mcp", error="invalid_token", resource_metadata=x`, "basic types are supported", "Basic auth failed",
		"password is required", "no such file or directory: /etc/passwd", "open C:\\Users\\a@b\\x.txt: access denied",
		"dial tcp 127.0.0.1:8080: connect: connection refused", "context deadline exceeded (Client.Timeout exceeded)",
		"resource not found: file:///home/user/notes.txt", "json: cannot unmarshal string into Go struct field X.y of type int",
		"max_tokens=1024, total tokens: 99", "progressToken: abc", "password_length=8", "tool get_weather failed: city: unknown",
		"notifications/resources/list_changed", "bob@example.com wrote to mailto:a@b.example", "12:30:45 task-manager-configuration-service",
		"risk-based approach", "git@github.com:org/repo.git", "std::token::parse failed", "what? #1 issue", "a=b c=d", "x == y, a != b",
		"panic: runtime error: index out of range [5] with length 3", "exit code: 1", "the cookie jar is full", "authorization: denied by policy",
		"npm_config_registry", "550e8400-e29b-41d4-a716-446655440000", "https://example.com/path/to-it_1.html", "key: value",
		"tool \"secret_santa\" returned 3 results", "é: ü", "cannot find symbol: variable foo", "validation failed: password too short",
		"the author is unknown: see docs", "compass=north", "bypass: enabled", "pwd", "auth", "Secret", "404 page not found",
	} {
		if got := Text(s, plenty); got != s {
			t.Errorf("Text(%q) = %q", s, got)
		}
	}
}

func TestURI(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"file:///home/user/a b.txt", "file:///home/user/a b.txt"},
		{"https://u:p@h.example:8080/a?b=c#d", "https://[REDACTED]@h.example:8080/a?[REDACTED]"},
		{"https://h.example/a?", "https://h.example/a?"},
		{"https://h.example/a#f", "https://h.example/a#[REDACTED]"},
		{"https://h.example/a?b c d", "https://h.example/a?[REDACTED]"},
		{"//u:p@h/x?y", "//[REDACTED]@h/x?[REDACTED]"},
		{"u:p@h/x", "u:[REDACTED]@h/x"},
		{"user:p@host", "user:[REDACTED]@host"},
		{"jdbc:oracle:thin:scott/tiger@host:1521", "jdbc:[REDACTED]@host:1521"},
		{"jdbc:postgresql://u:p@h/db?password=x", "jdbc:postgresql://[REDACTED]@h/db?[REDACTED]"},
		{"mailto:bob@example.com?subject=x", "mailto:bob@example.com?[REDACTED]"},
		{"urn:isbn:0451450523", "urn:isbn:0451450523"},
		{"pkg:npm/animation@12.3.1", "pkg:npm/animation@12.3.1"},
		{"data:text/plain;base64,aGVsbG8=", "data:text/plain;base64,[REDACTED]"},
		{"data:,hello", "data:,[REDACTED]"},
		{"users://{id}/profile{?fields,page*}", "users://{id}/profile{?fields,page*}"},
		{"users/{id}{?fields}?x=1", "users/{id}{?fields}?[REDACTED]"},
		{"/etc/a@b:c", "/etc/a@b:c"},
		{`C:\a@b`, `C:\a@b`},
		{"custom://x;token=abc/y", "custom://x;token=[REDACTED]"},
		{"not a uri", "not a uri"},
		{"%zz://[", "%zz://["},
		{"", ""},
		{":", ":"},
		{"://", "://"},
		{"?", "?"},
		{"?x", "?[REDACTED]"},
		{"a\nb://c", "a b://c"},
		{"https://h/" + tokens["github"], "https://h/[REDACTED]"},
	} {
		if got := URI(c.in, plenty); got != c.want {
			t.Errorf("URI(%q)\n got %q\nwant %q", c.in, got, c.want)
		}
		if got := URI(c.want, plenty); got != c.want {
			t.Errorf("not idempotent: URI(%q)\n got %q", c.want, got)
		}
	}
}

func TestName(t *testing.T) {
	for in, want := range map[string]string{
		"tools/call": "tools/call", "get_weather": "get_weather", "token:refresh": "token:refresh", "auth::token::get": "auth::token::get",
		"secret:list/all": "secret:list/all", "password:hunter2": "password:[REDACTED]", "token: abc": "token: [REDACTED]",
		"a\nb\u202ec": "a b\uFFFDc", "x" + tokens["github"]: "x[REDACTED]", "password=x": "password=[REDACTED]",
		"https://u:p@h": "https://[REDACTED]@h", "Claude Desktop": "Claude Desktop", "@scope/pkg": "@scope/pkg",
	} {
		if got := Name(in, plenty); got != want {
			t.Errorf("Name(%q) = %q, want %q", in, got, want)
		}
	}
	if got := Name(strings.Repeat("n", 300), 128); len(got) != 128 || !strings.HasSuffix(got, "…[+182B]") {
		t.Errorf("%q", got)
	}
}

func TestSensitiveKey(t *testing.T) {
	for _, s := range []string{
		"password", "Password", "user_password", "PASSWD", "pwd", "secret", "client-secret", "clientSecret", "token",
		"accessToken", "refresh_token", "Authorization", "Proxy-Authorization", "cookie", "Set-Cookie", "api_key", "apiKey", "x-api-key",
		"private_key", "privateKey", "passphrase", "aws_secret_access_key", "credentials", "DB_PASS", "password1", "jwt", "auth", "secret_key_base",
	} {
		if !SensitiveKey(s) {
			t.Errorf("%q is not sensitive", s)
		}
	}
	for _, s := range []string{
		"", "a", "name", "tokens", "max_tokens", "progressToken", "nextPageToken", "password_policy", "token_type", "author", "cwd",
		"key", "public_key", "compass", "tokenizer", "secretary", "authorization_endpoint", "passed",
	} {
		if SensitiveKey(s) {
			t.Errorf("%q is sensitive", s)
		}
	}
}

func TestCap(t *testing.T) {
	for _, c := range []struct {
		in   string
		max  int
		want string
	}{
		{strings.Repeat("a", 20), 20, strings.Repeat("a", 20)},
		{strings.Repeat("a", 21), 20, strings.Repeat("a", 11) + "…[+10B]"},
		{strings.Repeat("é", 20), 20, "ééééé…[+30B]"},
		{"password=hunter2 and more text", 20, "password=…[+24B]"},
		{"abcdef", 3, "abc"},
		{"abcdef", 0, ""},
		{"abcdef", -1, ""},
		{"ééé", 3, "é"},
	} {
		got := Text(c.in, c.max)
		if got != c.want {
			t.Errorf("Text(%q, %d) = %q, want %q", c.in, c.max, got, c.want)
		}
	}
	// The note says how much is missing, also when only the beginning was looked at.
	huge := strings.Repeat("word ", 1<<20)
	got := Text(huge, 100)
	var n int
	head, note, ok := strings.Cut(got, noteHead)
	if _, err := fmt.Sscanf(note, "%dB]", &n); !ok || err != nil || len(head)+n != len(huge) || len(got) > 100 {
		t.Errorf("%q: %d + %d, %d", got, len(head), n, len(huge))
	}
	if out, cut := Capped("abc", 20, 7); out != "abc…[+7B]" || cut != 7 {
		t.Errorf("%q %d", out, cut)
	}
	if out, cut := Head(strings.Repeat("a", 30), 10); out != "aaaaaaaaaa" || cut != 20 {
		t.Errorf("%q %d", out, cut)
	}
}

// A secret across any edge, of the cap or of what is looked at, does not leak.
func TestEdges(t *testing.T) {
	secrets := map[string]string{
		"pair": "password=CANARYCANARY99", "json": `{"api_key":"CANARYCANARY99"}`, "bearer": "Bearer CANARYCANARY99",
		"uri": "https://user:CANARYCANARY99@h.example/x", "header": "Cookie: a=b; sid=CANARYCANARY99", "long jwt": "eyJ" + strings.Repeat("CANARY99", 900),
		"long uri": "https://" + strings.Repeat("CANARY99", 900) + "@h", "long json": `{"token":"` + strings.Repeat("CANARY99", 1000),
	}
	maps.Copy(secrets, tokens)
	for name, secret := range secrets {
		body := secret
		if i := strings.Index(secret, "CANARY"); i >= 0 {
			body = secret[i:min(i+14, len(secret))]
		}
		for _, limit := range []int{64, 200} {
			for off := -len(secret) - 3; off <= 3; off += 1 + len(secret)/20 {
				for _, edge := range []int{limit, limit + Slack, limit + Slack - margin} {
					n := edge + off
					if n < 0 {
						continue
					}
					for _, unit := range []string{"x", "z ", "password=secretpart "} {
						in := strings.Repeat(unit, n/len(unit)+1)[:n] + " " + secret + " " + strings.Repeat("tail ", 2000)
						if out := Text(in, limit); len(out) > limit {
							t.Fatalf("%s: %d bytes", name, len(out))
						} else {
							noPart(t, name, in[max(0, n-20):n+20], out, body)
						}
					}
				}
			}
		}
	}
}

func TestNoAllocations(t *testing.T) {
	for _, s := range []string{
		"tool 'x' not found", "tools/call", "get_weather", "invalid params: city: unknown value", "grüße 世界",
		"resource not found: file:///home/user/notes.txt", "dial tcp 127.0.0.1:8080: connect: connection refused", "550e8400-e29b-41d4-a716-446655440000",
		"invalid token: signature verification failed", `json: unknown field "token_type"`, "API error provided: none",
	} {
		for name, fn := range map[string]func(string, int) string{"Text": Text, "URI": URI, "Name": Name} {
			if n := testing.AllocsPerRun(100, func() { sink = fn(s, 256) }); n != 0 {
				t.Errorf("%s(%q): %v allocations", name, s, n)
			}
		}
	}
	if n := testing.AllocsPerRun(100, func() { SensitiveKey("x-Api_Key"); SensitiveKey("city") }); n != 0 {
		t.Errorf("SensitiveKey: %v allocations", n)
	}
}

var sink string

// hostile are texts that a careless rule would read again and again.
var hostile = []string{
	"a", ":", "=", "a:", "a=", "://", "a://b:c/", "@", "a:b@", "eyJ", "eyJa.", "sk-", "-", "--", "-----BEGIN ", "password", "password=",
	"password=,", "password:\"", "password=[", "\\", "\"", "token \"", " ", "\n", "=!", "%3D", "%25", "%3A%2F%2F", "%22", "?a=", "#", "{?", "<token>", ">",
	"Bearer ", "Basic ", "Basic a", "authorization:", "cookie: ", "data:a/b;", "ghp_", "a.b.", "AKIA", "\u200b", "\x1b[", "\xff", "\uFFFD", "é", "&quot;:",
	"--token ", "x:AA", "[REDACTED]", "password=[REDACTED]", "…[+1B]", "a b:", "api key provided: ", "hooks.slack.com/services/", "Q~",
	`"value":"`, `"value":`, `{"name":"password",`, `name=password `, `["token","`, `["token",`, "password: |\n", "password: |\n  x\n", "password = <<E\n", "<<E\n", "curl -u 'a ", "curl -u a ",
	"curl -p", "login -p ", "IDENTIFIED BY ", "IDENTIFIED BY '", "password '", "password for 'a' ", "login a password ", "code=a1", "code=a1b2c3d4e5f6 ", "sig=", `\u003c`, `\\`, `\n`, `\"`, "&amp;",
	"&amp;amp;lt;", "&#6", "%2525", "%3A%2F%2F", "dapi", "1//0", "$2b$", "SSWS ", "＝", "：", "“", `"""`, `password="""`, "ghp_aaaa\n", "ghp_a1b2c3\n", "eyJa1b2c3d4\n", "A3-", "eyAi", "AAAAAAAAAAAAAAAAAAAAAA",
	"pataaaaaaaaaaaaaa.", "a_secret_", ".atlasv1.", "-us1", "s.a1", "p", "0", "<<", "password p", `key="password">`, `<x key="token">`,
	"val=", "data=", "content: ", `val="`, "val=,", "val='a',", "val=x ", `name=password [`, `name=password value=`, " -u", "curl -u", " -p", " -u a", "curl -sSu ", "curl http mysql -u a",
	`\u0022password\u0022: \u0022val=`, "password%3A%27val=", "password: !", "password: &a ", "password: !x ", "<password a", `<password a="b">`, "<password a=b", "<password><![CDATA[", "<a ",
}

func TestLinear(t *testing.T) {
	if testing.Short() {
		t.Skip("measures time")
	}
	// The collector works in between, and not while something is measured.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	measure := func(s string, limit int) time.Duration {
		best := time.Hour
		for range 2 {
			start := time.Now()
			sink = Text(s, limit)
			best = min(best, time.Since(start))
		}
		return best
	}
	// grows fails if the large text takes more than so many times as long as the small one. The best of some tries
	// counts, and most runs are short, since other programs run on the machine too.
	grows := func(what, small, large string, smallCap, largeCap int, factor time.Duration) {
		a, b := time.Hour, time.Hour
		for range 12 {
			a, b = min(a, measure(small, smallCap)), min(b, measure(large, largeCap))
			if b <= factor*a {
				return
			}
			runtime.GC()
		}
		t.Errorf("%q: %v for %d KiB, %v for %d KiB", what, a, len(small)>>10, b, len(large)>>10)
	}
	for _, unit := range hostile {
		small, large := strings.Repeat(unit, (1<<12)/len(unit)), strings.Repeat(unit, (1<<16)/len(unit))
		grows(unit, small, large, len(small), len(large), 80) // linear is 16, quadratic 256
		grows(unit+" capped", small, large, 256, 256, 16)     // with a cap the size does not matter
	}
	// All of them together, in a megabyte.
	rnd := rand.New(rand.NewPCG(5, 6))
	var b strings.Builder
	for b.Len() < 1<<20 {
		b.WriteString(hostile[rnd.IntN(len(hostile))])
	}
	mix := b.String()
	grows("all", mix[:1<<19], mix, 1<<19, len(mix), 5)
}

// TestHostileIsCheap holds texts that were made to be slow to a multiple of what ordinary text of the same size takes.
func TestHostileIsCheap(t *testing.T) {
	if testing.Short() {
		t.Skip("measures time")
	}
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	const size, most = 1 << 14, 60
	repeat := func(unit string) string { return strings.Repeat(unit, size/len(unit)) }
	ordinary := repeat("tool failed: dial tcp 127.0.0.1:8080 (user=bob), see https://h.example/a_b. ")
	best := func(a time.Duration, s string) time.Duration {
		start := time.Now()
		sink = Text(s, size)
		return min(a, time.Since(start))
	}
	for _, unit := range hostile {
		text, a, b := repeat(unit), time.Hour, time.Hour
		for n := range 20 {
			if a, b = best(a, ordinary), best(b, text); n >= 2 && b <= most*a {
				break
			}
			runtime.GC()
		}
		if b > most*a {
			t.Errorf("%q: %v for %d KiB, ordinary text %v", unit, b, size>>10, a)
		}
	}
}

// check asserts what holds for every output.
func check(t *testing.T, what, in, out string, limit int) {
	t.Helper()
	if len(out) > limit {
		t.Fatalf("%s(%q, %d): %d bytes: %q", what, in, limit, len(out), out)
	}
	if !utf8.ValidString(out) {
		t.Fatalf("%s(%q): not UTF-8: %q", what, in, out)
	}
	for _, r := range out {
		if r != ' ' && !unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Co) && unicode.IsOneOf([]*unicode.RangeTable{unicode.Cc, unicode.Cf, unicode.Z, unicode.Other_Default_Ignorable_Code_Point, unicode.Bidi_Control}, r) {
			t.Fatalf("%s(%q): %U in %q", what, in, r, out)
		}
	}
}

func FuzzScrub(f *testing.F) {
	for i, s := range hostile {
		f.Add(s+s, s, uint8(i), uint16(300))
		f.Add("x"+s, s+"y", uint8(i), uint16(20))
	}
	for i, s := range []string{"tool 'x' not found", `{"password":"hunter2"}`, "https://u:p@h/x?y=z#f", pem, jwt, "Authorization: Bearer x\nCookie: a=b", "token='", `"secret":"a\`} {
		f.Add(s, "", uint8(i), uint16(100))
		f.Add(s, s, uint8(i*3), uint16(5000))
	}
	for i, c := range notations {
		f.Add(c.in, c.want, uint8(i), uint16(2000))
	}
	f.Fuzz(func(t *testing.T, before, after string, which uint8, limit uint16) {
		holds(t, before, after, int(which), int(limit))
	})
}

// TestCombined puts hostile pieces together at random, which a fuzzer that mutates bytes seldom does.
func TestCombined(t *testing.T) {
	n := 4000
	if testing.Short() {
		n = 500
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	words := append([]string{" ", "\n", "'", "\"", ",", ";", "}", "]", "hunter2", "text", "Bearer", "token", "/", "{", "[", "&", "\\\"", "%20"}, hostile...)
	some := func() string {
		var b strings.Builder
		for range rnd.IntN(8) {
			b.WriteString(words[rnd.IntN(len(words))])
		}
		return b.String()
	}
	for range n {
		holds(t, some(), some(), rnd.IntN(256), rnd.IntN(128))
	}
}

var canaries = func() []string {
	var canaries []string
	for _, k := range []string{
		"aws access key", "github", "github fine", "gitlab", "slack bot", "openai project", "anthropic", "google api", "npm", "huggingface",
		"digitalocean", "sendgrid", "stripe live", "jwt", "pem",
	} {
		canaries = append(canaries, tokens[k])
	}
	for _, k := range []string{"databricks", "supabase", "fly", "doppler cli", "dynatrace", "google refresh", "bedrock", "alibaba", "pinecone", "salesforce", "bcrypt"} {
		canaries = append(canaries, " "+issued[k]+" ")
	}
	return append(canaries, " password=CANARYCANARY99 ", `"password":"CANARYCANARY99"`, " Authorization: Bearer CANARYCANARY99\n", "\nCookie: sid=CANARYCANARY99\n",
		" Bearer CANARYCANARY99 ", " https://user:CANARYCANARY99@h.example/ ", " https://h.example/?q=CANARYCANARY99 ", "\napi_key: CANARYCANARY99\n",
		"\n{\"name\":\"password\",\"value\":\"CANARYCANARY99\"}\n", "\npassword: |\n  CANARYCANARY99\n", " curl -u bob:CANARYCANARY99 ", " IDENTIFIED BY CANARYCANARY99 ", " password＝CANARYCANARY99 ", `\u003cpassword\u003eCANARYCANARY99\u003c/`)
}()

// holds asserts what must hold whatever the text: the form of the output, that it stays as it is, and that a
// credential in the middle of anything is gone.
func holds(t *testing.T, before, after string, which, limit int) {
	t.Helper()
	canary := canaries[which%len(canaries)]
	secret := strings.TrimSpace(canary)
	if strings.Contains(canary, "CANARY99") {
		secret = "CANARYCANARY99"
	}
	in := before + canary + after
	for _, limit := range []int{limit, limit % 64, plenty} {
		for name, fn := range map[string]func(string, int) string{"Text": Text, "URI": URI, "Name": Name} {
			for _, s := range []string{before, in} {
				out := fn(s, limit)
				check(t, name, s, out, limit)
				if again := fn(out, limit); again != out {
					t.Fatalf("%s(%q, %d) is not idempotent:\n%q\n%q", name, s, limit, out, again)
				}
			}
			if out := fn(in, limit); strings.Contains(out, secret) && !strings.Contains(before+after, secret) {
				t.Fatalf("%s(%q, %d) leaks: %q", name, in, limit, out)
			}
		}
	}
}

func BenchmarkText(b *testing.B) {
	for name, s := range map[string]string{
		"plain": "tool 'x' not found", "colons": "dial tcp 127.0.0.1:8080: connect: connection refused",
		"name": "notifications/resources/list_changed", "uri": "resource not found: file:///home/user/notes.txt", "secret": "login failed: password=hunter2 for bob",
		"4KiB": strings.Repeat("the quick brown fox: jumps over a_lazy dog. ", 93), "1MiB capped": strings.Repeat("the quick brown fox: jumps over a_lazy dog. ", 23831),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(min(len(s), 8192)))
			for b.Loop() {
				sink = Text(s, 4096)
			}
		})
	}
}
