// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// This file tests the forms of credentials one by one: every prefix, every notation, and what looks like one of them
// and must stay readable.

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// random returns n characters of an alphabet, always the same for the same seed, with a digit, a capital and a small
// letter among the first ones where the alphabet has them.
func random(seed, chars string, n int) string {
	rnd := rand.New(rand.NewPCG(uint64(len(seed)), uint64(seed[0])<<8|uint64(seed[len(seed)-1])))
	b := []byte{}
	for _, class := range []string{"0123456789", "ABCDEF", "abcdef", "0123456789"} {
		if i := strings.IndexAny(chars, class); i >= 0 && len(b) < n {
			b = append(b, chars[i+rnd.IntN(min(len(class), len(chars)-i))])
		}
	}
	for len(b) < n {
		b = append(b, chars[rnd.IntN(len(chars))])
	}
	return string(b)
}

const (
	lowers  = "abcdefghijklmnopqrstuvwxyz"
	capital = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
	hexes   = "0123456789abcdef"
	alnums  = digits + capital + lowers
	urlSafe = alnums + "_-"
	base    = alnums + "+/"
)

// issued are tokens in the form and length in which they are issued.
var issued = map[string]string{
	"databricks": "dapi" + random("dapi", hexes, 32), "databricks rotated": "dapi" + random("dapr", hexes, 32) + "-2",
	"supabase": "sbp_" + random("sbp", hexes, 40), "supabase secret": "sb_secret_" + random("sbs", urlSafe, 31),
	"pulumi": "pul-" + random("pul", hexes, 40), "netlify": "nfp_" + random("nfp", alnums, 36),
	"fly": "fm2_" + random("fm2", base, 120) + "=", "terraform": random("tf", alnums, 14) + ".atlasv1." + random("tf2", urlSafe, 67),
	"1password service": "ops_eyJ" + random("ops", base, 250), "1password key": "A3-" + random("a3", capital+digits, 6) + "-" + random("a4", capital+digits, 11) + "-RY2C5-H8WQT-N4QK2",
	"doppler cli": "dp.ct." + random("dpc", alnums, 43), "doppler account": "dp.sa." + random("dps", alnums, 43),
	"gitlab flags": "glffct-" + random("glf", urlSafe, 20), "gitlab workspace": "glwt-" + random("glw", urlSafe, 20), "gitlab runner": "GR1348941" + random("GR", urlSafe, 20),
	"slack workflow": "xwfp-" + random("xw", alnums, 30), "artifactory": "AKCp" + random("ak", alnums, 69), "artifactory reference": "cmVmdGtu" + random("cm", alnums, 56),
	"dynatrace": "dt0c01." + random("dt", capital+digits, 24) + "." + random("du", capital+digits, 64), "heroku": "HRKU-AA" + random("hr", urlSafe, 58),
	"circleci": "CCIPAT_" + random("cc", alnums, 22) + "_" + random("cd", hexes, 40), "buildkite": "bkua_" + random("bk", lowers+digits, 40),
	"sonarqube": "squ_" + random("sq", hexes, 40), "posthog": "phx_" + random("ph", alnums, 43), "pinecone": "pcsk_" + random("pc", alnums, 6) + "_" + random("pd", alnums, 63),
	"langsmith": "lsv2_pt_" + random("ls", hexes, 32) + "_" + random("lt", hexes, 10), "together": "tgp_v1_" + random("tg", urlSafe, 43),
	"cerebras": "csk-" + random("cs", lowers+digits, 48), "jina": "jina_" + random("ji", alnums, 60), "e2b": "e2b_" + random("e2", hexes, 40),
	"linear oauth": "lin_oauth_" + random("lo", hexes, 64), "bedrock": "ABSK" + random("ab", base, 128) + "=", "alibaba": "LTAI" + random("lt", alnums, 20),
	"google refresh": "1//0g" + random("gr", urlSafe, 98), "jwt in base64": "ZXlKaGJHY2lPaU" + random("zx", alnums, 120),
	"airtable": "pat" + random("ai", alnums, 14) + "." + random("aj", hexes, 64), "maxmind": random("mm", alnums, 6) + "_" + random("mn", alnums, 29) + "_mmk",
	"azure devops": random("az", alnums, 76) + "AZDO" + random("ay", alnums, 4), "newrelic license": random("nr", hexes, 36) + "NRAL", "mailchimp": random("mc", hexes, 32) + "-us12",
	"salesforce": "00D" + random("sf", alnums, 12) + "!" + random("sg", alnums+"._", 96), "vault before 1.10": "s." + random("va", alnums, 24),
	"stripe client secret": "pi_" + random("pi", alnums, 24) + "_secret_" + random("ps", alnums, 25), "openshift": "sha256~" + random("os", urlSafe, 43),
	"bcrypt": "$2b$12$" + random("bc", alnums+"./", 53), "sha512crypt": "$6$rounds=5000$" + random("c6", alnums, 16) + "$" + random("c7", alnums+"./", 86),
	"argon2": "$argon2id$v=19$m=65536,t=3,p=4$" + random("ar", base, 22) + "$" + random("as", base, 43), "pem in base64": "LS0tLS1CRUdJTiBSU0EgUFJJVkFURSBLRVkt" + random("pb", base, 200),
	"tailscale": "tskey-auth-" + random("ta", alnums, 17) + "-" + random("tb", alnums, 32), "yandex": "AQVN" + random("yd", urlSafe, 36), "brave": "BSA" + random("bs", urlSafe, 28),
	"dropbox": "sl.B" + random("db", urlSafe, 134), "resend": "re_" + random("re", alnums, 8) + "_" + random("rf", alnums, 24), "twitch": "live_" + random("tw", digits, 9) + "_" + random("tx", alnums, 30),
	"lob": "test_" + random("lb", hexes, 35), "openrouter": "sk-or-v1-" + random("or", hexes, 64), "langfuse": "sk-lf-1d2c3b4a-" + random("lf", hexes, 4) + "-4c5d-8e9f-0a1b2c3d4e5f",
}

// tokenFrames are places in which a token is met.
var tokenFrames = []string{
	"%s", "bad credential %s in request", "x=%s&y=1", `{"v":"%s"}`, "(%s)", "key: %s", "'%s'", "\x1b[31m%s\x1b[0m", "[%s]", "a\n%s\nb",
	"https://example.com/%s/x", "GET%%20/x%%20%s", `{"v":"line\n%s\n"}`, `\t%s`, "%s, and more", "<b>%s</b>", "a|%s|b", "`%s`",
}

func TestIssuedTokens(t *testing.T) {
	for name, secret := range issued {
		for _, frame := range tokenFrames {
			in := fmt.Sprintf(frame, secret)
			for fn, out := range all(in, plenty) {
				noPart(t, name+" "+fn, in, out, secret)
			}
		}
	}
}

// Every prefix of the table is found, with as few characters after it as the table says.
func TestEveryPrefix(t *testing.T) {
	chars := map[alphabet]string{
		word: urlSafe, dots: urlSafe + ".=", alnum: alnums, hex: hexes, dashes: hexes + "-", upper: capital + digits + "-", base64s: base + "_-=",
		crypts: alnums + "./$=,+:@*", session: alnums + "._!",
	}
	for k := range prefixes {
		p := &prefixes[k]
		if p.at == 0 && p.left == 0 {
			t.Errorf("%s has no anchor", p.s)
		}
		secret := random(p.s+"l", hexes, p.left) + p.s
		if p.min > 0 {
			body := random(p.s, strings.TrimSuffix(chars[p.abc], "-"), p.min)
			if p.has != 0 {
				body = body[:5] + string(p.has) + body[6:]
			}
			secret += body
		}
		if p.must&rest != 0 {
			secret += "2: ssh-rsa\nPrivate-Lines: 1\nAAAA"
		}
		for _, frame := range []string{"%s", "see %s now", `{"v":"%s"}`} {
			in := fmt.Sprintf(frame, secret)
			if out := Text(in, plenty); strings.Contains(out, secret) || !strings.Contains(out, Redacted) {
				t.Errorf("%s: %q stays in %q", p.issuer, secret, out)
			}
		}
	}
	n, distinct := len(odd), map[string]bool{}
	for k := range kinds {
		n += len(strings.Fields(kinds[k].begins))
	}
	for k := range prefixes {
		distinct[prefixes[k].issuer+prefixes[k].s] = true
	}
	if len(distinct) != n {
		t.Errorf("%d of %d prefixes can be found", len(distinct), n)
	}
}

// A token that was broken into two lines is gone whole, wherever the break is, and what follows it stays.
func TestWrappedTokens(t *testing.T) {
	for _, name := range []string{"databricks", "pulumi", "pinecone", "google refresh", "heroku", "terraform"} {
		secret := issued[name]
		for _, wrap := range []string{"\n", "\r\n", "\n    ", `\n`, `\r\n`, "%0A"} {
			for _, cut := range []int{len(secret) / 2, len(secret) / 3, len(secret) - 12} {
				first, last := secret[:cut], secret[cut:]
				if strings.HasPrefix(last, ".") || !isOpaque(last) {
					continue
				}
				in := "token was " + first + wrap + last + " and\nthe next line: stays"
				out := Text(in, plenty)
				noPart(t, name, in, out, first)
				noPart(t, name, in, out, last)
				if !strings.HasSuffix(out, " and the next line: stays") {
					t.Errorf("%q became %q", in, out)
				}
			}
		}
	}
	for cut := 20; cut < len(jwt)-10; cut += 7 {
		in := "jwt " + jwt[:cut] + "\n" + jwt[cut:] + "\nstays here"
		out := Text(in, plenty)
		noPart(t, "jwt", in, out, jwt[cut:])
		if !strings.HasSuffix(out, " stays here") {
			t.Errorf("%q", out)
		}
	}
	for _, s := range []string{"Next line", "at main.go:12", "request_id=8f3a9b2c", "2026-11-30T18:36:25Z start", "HTTP/1.1 200", "v1.22.3", "retry in 30s"} {
		in := issued["pulumi"] + "\n" + s
		if out, want := Text(in, plenty), Redacted+" "+s; out != want {
			t.Errorf("%q, want %q", out, want)
		}
	}
}

// pw is the secret of TestNotations: no rule knows it by its own form.
const pw = "hunter2Canary"

var notations = []struct{ name, in, want string }{
	{"name and value members", `{"name":"password","value":"` + pw + `"}`, `{"name":"password","value":"[REDACTED]"}`},
	{"value before name", `{"value":"` + pw + `","name":"password"}`, `{"value":"[REDACTED]","name":"password"}`},
	{"value before name, one between", `{"value":"` + pw + `","enabled":true,"key":"api_key"}`, `{"value":"[REDACTED]","enabled":true,"key":"api_key"}`},
	{"key and value", `[{"key":"X-Api-Key","type":"text","value":"` + pw + `"},{"key":"Accept","value":"text/html"}]`, `[{"key":"X-Api-Key","type":"text","value":"[REDACTED]"},{"key":"Accept","value":"text/html"}]`},
	{"members in a string", `{"b":"{\"name\":\"password\",\"value\":\"` + pw + `\"}"}`, `{"b":"{\"name\":\"password\",\"value\":\"[REDACTED]\"}"}`},
	{"members of a Go struct", `{Name:DB_PASSWORD Value:` + pw + `}`, `{Name:DB_PASSWORD Value:[REDACTED]}`},
	{"members in YAML", "- name: DB_PASSWORD\n  value: " + pw + "\n- name: CITY\n  value: Paris", "- name: DB_PASSWORD   value: [REDACTED] - name: CITY   value: Paris"},
	{"members in PHP", `['name' => 'password', 'value' => '` + pw + `']`, `['name' => 'password', 'value' => '[REDACTED]']`},
	{"members in logfmt", `name=password value=` + pw + ` x=1`, `name=password value=[REDACTED] x=1`},
	{"attributes", `<add key="Password" value="` + pw + `" />`, `<add key="Password" value="[REDACTED]" />`},
	{"attributes, other order", `<add value="` + pw + `" key="Password" />`, `<add value="[REDACTED]" key="Password" />`},
	{"element named by an attribute", `<entry key="password">` + pw + `</entry>`, `<entry key="password">[REDACTED]</entry>`},
	{"headers as lists", `[["Accept","x"],["X-Api-Key","` + pw + `"]]`, `[["Accept","x"],["X-Api-Key","[REDACTED]"]]`},
	{"block of YAML", "user: a\npassword: |\n  " + pw + "\n  second\nhost: h", "user: a password: [REDACTED] host: h"},
	{"block of YAML, nested", "db:\n  password: >-\n    " + pw + "\n\n    second\n  host: h", "db:   password: [REDACTED]   host: h"},
	{"block of YAML in JSON", `{"c":"password: |\n  ` + pw + `\nhost: h"}`, `{"c":"password: [REDACTED]\nhost: h"}`},
	{"block of YAML on one line", "password: | " + pw + " host", "password: | [REDACTED] host"},
	{"secret in a secret", "credentials:\n  password: " + pw + "\n  x: y", "credentials:   password: [REDACTED]   x: y"},
	{"header without a value", "Cookie:\nX-Api-Key: " + pw + "\nHost: h", "Cookie: X-Api-Key: [REDACTED] Host: h"},
	{"here document", "password = <<EOT\n" + pw + "\nEOT\nx = 1", "password = [REDACTED] x = 1"},
	{"SSWS", "sent SSWS " + pw + " to", "sent SSWS [REDACTED] to"},
	{"SSWS header", "Authorization: SSWS " + pw + "\nHost: h", "Authorization: [REDACTED] Host: h"},
	{"SSWS under another name", "token: SSWS " + pw + " x", "token: [REDACTED] x"},
	{"curl", "curl -sS -u bob:" + pw + " https://h.example/", "curl -sS -u [REDACTED] https://h.example/"},
	{"curl, long", "curl --user bob:" + pw + " https://h.example/", "curl --user [REDACTED] https://h.example/"},
	{"curl, equals", "curl --user=bob:" + pw + " x", "curl --user=[REDACTED] x"},
	{"curl, attached", "curl -ubob:" + pw + " x", "curl -u[REDACTED] x"},
	{"curl, quoted", `curl -u "bob:` + pw + ` 2" x`, `curl -u "[REDACTED]" x`},
	{"curl, arguments", `["curl","-u","bob:` + pw + `"]`, `["curl","-u","[REDACTED]"]`},
	{"curl, attached and quoted", `curl -u"bob:` + pw + `" x`, `curl -u"[REDACTED]" x`},
	{"curl, several lines", "curl -s \\\n  -u bob:" + pw + " \\\n  x", "curl -s \\   -u [REDACTED] \\   x"},
	{"curl, quoted password", `curl -u bob:"` + pw + `" x`, `curl -u [REDACTED] x`},
	{"curl, bundle", "curl -sSu bob:" + pw + " https://h.example/", "curl -sSu [REDACTED] https://h.example/"},
	{"curl, bundle in arguments", `["curl","-sSu","bob:` + pw + `"]`, `["curl","-sSu","[REDACTED]"]`},
	{"pair in the next line", "curl -u\napi_key: " + pw, "curl -u api_key: [REDACTED]"},
	{"block in the next line", "curl -u\npassword: |\n  " + pw, "curl -u password: [REDACTED]"},
	{"element with an attribute", `<password encrypted="false">` + pw + `</password>`, `<password encrypted="false">[REDACTED]</password>`},
	{"element of SOAP", `<wsse:Password Type="http://docs.example/x#PasswordText">` + pw + `</wsse:Password>`, `<wsse:Password Type="http://docs.example/x#[REDACTED]">[REDACTED]</wsse:Password>`},
	{"element of SOAP, short", `<wsse:Password Type="x#PasswordText">` + pw + `</wsse:Password>`, `<wsse:Password Type="x#PasswordText">[REDACTED]</wsse:Password>`},
	{"element in several lines", "<password\n  a='b'\n  c='d' >\n" + pw + "\n</password>", "<password   a='b'   c='d' >[REDACTED]</password>"},
	{"element with an attribute in JSON", `{"x":"<password a=\"b\">` + pw + `</password>"}`, `{"x":"<password a=\"b\">[REDACTED]</password>"}`},
	{"escaped element with an attribute", `\u003cpassword a=\"b\"\u003e` + pw + `\u003c/password\u003e`, `\u003cpassword a=\"b\"\u003e[REDACTED]\u003c/password\u003e`},
	{"CDATA", `<password><![CDATA[` + pw + `<]]></password>`, `<password><![CDATA[[REDACTED]]]></password>`},
	{"CDATA and an attribute", `<password a="b"> <![CDATA[` + pw + `]]></password>`, `<password a="b"> <![CDATA[[REDACTED]]]></password>`},
	{"tag of YAML", "password: !!str " + pw + "\nhost: h", "password: [REDACTED] host: h"},
	{"tag of YAML, quoted", "password: !secret \"" + pw + " 2\"\nhost: h", "password: [REDACTED]\" host: h"},
	{"tag of YAML with a namespace", "password: !<tag:yaml.org,2002:str> " + pw + "\nhost: h", "password: [REDACTED] host: h"},
	{"anchor of YAML", "password: &a " + pw + "\nhost: h", "password: [REDACTED] host: h"},
	{"anchor and tag of YAML", "password: &a !!str " + pw + "\nhost: h", "password: [REDACTED] host: h"},
	{"tag of YAML and a block", "user: a\npassword: !!str |\n  " + pw + "\n  second\nhost: h", "user: a password: [REDACTED] host: h"},
	{"tag of YAML and a list", "secrets: !x [" + pw + ", y]\nhost: h", "secrets: [REDACTED] host: h"},
	{"psexec", `PSEXEC \\10.0.0.1 -u bob -p ` + pw + ` cmd`, `PSEXEC \\10.0.0.1 -u bob -p [REDACTED] cmd`},
	{"mysql", "mysql -u root -p" + pw + " db", "mysql -u root -p[REDACTED] db"},
	{"docker login", "docker login -u bob -p " + pw + " r.example", "docker login -u bob -p [REDACTED] r.example"},
	{"PowerShell", "Connect-VIServer -User bob -Password " + pw + " -Force", "Connect-VIServer -User bob -Password [REDACTED] -Force"},
	{"SQL", "CREATE USER 'a'@'b' IDENTIFIED BY '" + pw + "' REQUIRE SSL", "CREATE USER 'a'@'b' IDENTIFIED BY '[REDACTED]' REQUIRE SSL"},
	{"SQL, plugin", "ALTER USER a IDENTIFIED WITH caching_sha2_password BY '" + pw + "'", "ALTER USER a IDENTIFIED WITH caching_sha2_password BY '[REDACTED]'"},
	{"SQL, small", "create user a identified by '" + pw + "'", "create user a identified by '[REDACTED]'"},
	{"SQL, Oracle", `CREATE USER a IDENTIFIED BY ` + pw + ` QUOTA`, `CREATE USER a IDENTIFIED BY [REDACTED] QUOTA`},
	{"SQL, role", "CREATE ROLE a LOGIN PASSWORD '" + pw + "' VALID", "CREATE ROLE a LOGIN PASSWORD '[REDACTED]' VALID"},
	{"SQL, function", "SET PASSWORD = PASSWORD('" + pw + "')", "SET PASSWORD = [REDACTED]')"},
	{"netrc", "machine h login bob password " + pw + " machine g", "machine h login bob password [REDACTED] machine g"},
	{"SQL, of a user", "SET PASSWORD FOR 'bob'@'localhost' = '" + pw + "'", "SET PASSWORD FOR 'bob'@'localhost' = '[REDACTED]'"},
	{"sentence about a user", "the password for user 'bob' is '" + pw + "'", "the password for user 'bob' is '[REDACTED]'"},
	{"sentence", `the password is "` + pw + `".`, `the password is "[REDACTED]".`},
	{"full-width equals", "password＝" + pw + " ok", "password＝[REDACTED] ok"},
	{"full-width colon", "password：" + pw + " ok", "password：[REDACTED] ok"},
	{"full-width name", "ｐａｓｓｗｏｒｄ＝" + pw + " ok", "ｐａｓｓｗｏｒｄ＝[REDACTED] ok"},
	{"full-width quotes", "＂password＂：＂" + pw + "＂", "＂password＂：＂[REDACTED]＂"},
	{"typographic quotes", "“password”: “" + pw + "”", "“password”: “[REDACTED]”"},
	{"line ends in content", "password:\n\n " + pw, "password:   [REDACTED]"},
	{"line ends in a string", `"password:\n\n ` + pw + `"`, `"password:\n\n [REDACTED]"`},
	{"line ends in a string of a string", `"\"password:\\n\\n ` + pw + `\""`, `"\"password:\\n\\n [REDACTED]\""`},
	{"escaped element", `\u003cpassword\u003e` + pw + `\u003c/password\u003e`, `\u003cpassword\u003e[REDACTED]\u003c/password\u003e`},
	{"escaped arrow", `'password' =\u003e '` + pw + `'`, `'password' =\u003e '[REDACTED]'`},
	{"escaped equals", `password\u003d` + pw + ` x`, `password\u003d[REDACTED] x`},
	{"hexadecimal escape", `password\x3d` + pw + ` x`, `password\x3d[REDACTED] x`},
	{"escaped quotes", `\u0022password\u0022:\u0022` + pw + `\u0022`, `\u0022password\u0022:\u0022[REDACTED]\u0022`},
	{"escaped slashes", `"https:\/\/bob:` + pw + `@h.example\/x"`, `"https:\/\/[REDACTED]@h.example\/x"`},
	{"HTML element", "&lt;password&gt;" + pw + "&lt;/password&gt;", "&lt;password&gt;[REDACTED]&lt;/password&gt;"},
	{"HTML number", "password&#61;" + pw + " x", "password&#61;[REDACTED] x"},
	{"HTML hexadecimal", "password&#x3D;" + pw + " x", "password&#x3D;[REDACTED] x"},
	{"HTML twice", "password&amp;#61;" + pw + " x", "password&amp;#61;[REDACTED] x"},
	{"TOML", "password = \"\"\"\n" + pw + "\n\"\"\"\nhost = 1", "password = \"\"\"[REDACTED]\"\"\" host = 1"},
	{"TOML, literal", "password = '''" + pw + "'''\nhost = 1", "password = '''[REDACTED]''' host = 1"},
	{"TOML in a string", `"password = \"\"\"\n` + pw + `\n\"\"\"\nhost = 1"`, `"password = \"\"\"[REDACTED]\"\"\"\nhost = 1"`},
	{"encoded URI", "to%3Dhttps%3A%2F%2Fbob%3A" + pw + "%40h.example%2Fx%3Fq%3D1", "to%3Dhttps%3A%2F%2F[REDACTED]%40h.example%2Fx%3F[REDACTED]"},
	{"encoded twice", "%2522password%2522%253A%2522" + pw + "%2522", "%2522password%2522%253A%2522[REDACTED]%2522"},
	{"authorization code", "cb?no code=SplxlOBeZQQYbYS6WxSbIA ok", "cb?no code=[REDACTED] ok"},
	{"authorization code in a form", "grant_type=authorization_code&code=SplxlOBeZQQYbYSxWxSbIA&client_id=x", "grant_type=authorization_code&code=[REDACTED]&client_id=x"},
	{"authorization code of GitHub", "code=4f8c2a1be0d93f7a6c5b&state=x", "code=[REDACTED]&state=x"},
	{"authorization code of Google", "code=4/0AX4XfWh-abcdefghijklmnop_QRSTUV ok", "code=[REDACTED] ok"},
	{"authorization code in JSON", `{"code":"SplxlOBeZQQYbYS6WxSbIA","state":"x"}`, `{"code":"[REDACTED]","state":"x"}`},
	{"shared access signature", "sv=2022-11-02&ss=b&sp=rl&sig=Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MA%3D%3D&se=2026-12-01", "sv=2022-11-02&ss=b&sp=rl&sig=[REDACTED]&se=2026-12-01"},
	{"bare signature", "sig=Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MA== failed", "sig=[REDACTED] failed"},
	{"encoded PEM", "k=-----BEGIN%20RSA%20" + "PRIVATE%20KEY-----%0AMIIEpAIBAAKCAQEA7bq0%0A" + pw + "%0A-----END%20RSA%20PRIVATE%20KEY----- x", "k=[REDACTED] x"},
	{"PEM encoded as a form", "k%3D-----BEGIN+RSA+" + "PRIVATE+KEY-----%0D%0AMIIEpAIBAAKCAQEA7bq0%0D%0A" + pw + "%0D%0A-----END+RSA+PRIVATE+KEY-----", "k%3D[REDACTED]"},
	{"token after an encoded space", "GET%20sk-" + "abcdefghijklmnopqrstT3BlbkFJabcdefghijklmnopqrst", "GET%20[REDACTED]"},
}

func TestNotations(t *testing.T) {
	for _, c := range notations {
		if got := Text(c.in, plenty); got != c.want {
			t.Errorf("%s: Text(%q)\n got %q\nwant %q", c.name, c.in, got, c.want)
		}
		if got := Text(c.want, plenty); got != c.want {
			t.Errorf("%s is not idempotent: Text(%q)\n got %q", c.name, c.want, got)
		}
		// In the middle of a text, and as a string of a string.
		for _, in := range []string{"before " + c.in + "\nafter", `{"text":` + quoted(c.in) + `}`} {
			noPart(t, c.name, in, Text(in, plenty), secretOf(c.in))
		}
	}
}

// quoted is s as a JSON string.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// secretOf returns what in a notation is the secret.
func secretOf(in string) string {
	if strings.Contains(in, pw) {
		return pw
	}
	longest := ""
	for _, w := range strings.FieldsFunc(in, func(r rune) bool { return !strings.ContainsRune(urlSafe, r) }) {
		if len(w) > len(longest) && !strings.Contains(w, "BEGIN") {
			longest = w
		}
	}
	return longest
}

// lookAlikes are what operators must be able to read though it looks like one of the forms above.
var lookAlikes = []string{
	// digests, identifiers, versions
	"d41d8cd98f00b204e9800998ecf8427e", "md5 d41d8cd98f00b204e9800998ecf8427e", "da39a3ee5e6b4b0d3255bfef95601890afd80709",
	"commit 89be3e1a86b70e2f8fd0c3e41b4b8c5a9d7e6f01", "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
	"sha512-z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg", "etag \"33a64df551425fcc55e4d42a148795d9f25f89d4\"", "digest=sha256:9f86d081884c7d65", "crc32 cbf43926",
	"550e8400-e29b-41d4-a716-446655440000", "request 550e8400-e29b-41d4-a716-446655440000 failed", "{550E8400-E29B-41D4-A716-446655440000}",
	"id=550e8400-e29b-41d4-a716-446655440000", "urn:uuid:550e8400-e29b-41d4-a716-446655440000", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "ulid 01ARZ3NDEKTSV4RRFFQ69G5FAV",
	"trace 4bf92f3577b34da6a3ce929d0e0e4736", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "507f1f77bcf86cd799439011", "ksuid 0ujtsYcgvSTl8PAuAdqWYSMnLOv",
	"v1.22.3", "go1.26.0", "1.0.0-rc.1+build.5", "v0.0.0-20261130183625-89be3e1a86b7", "github.com/mark3labs/mcp-go v0.43.2", "github.com/otelmcp/otelmcp-go/otelmcp/internal/scrub",
	"golang.org/x/tools@v0.28.0", "@modelcontextprotocol/sdk@1.12.1", "h1:uIrnoLrPLNr/2fpBZGlM2T7UKYn6gbB6sOhC2vHqvHs=", "lodash@^4.17.21", "python-3.12.1-slim", "linux/amd64", "2025-11-25",
	"2026-11-30T18:36:25Z", "2026-11-30T18:36:25.123456789+01:00", "Mon, 30 Nov 2026 18:36:25 GMT", "1764527785", "2026-11-30 18:36:25,123", "20261130T183625Z", "P3DT4H",
	// base64 and encodings of words
	"aGVsbG8=", "aGVsbG8gd29ybGQ=", "dGVzdA==", "Zm9v", "cGFzc3dvcmQ=", "image/png;base64", "hello%20world", "a%2Fb%2Fc", "100%", "50% of 20%", "file:///home/a%20b/what%3F.txt", "C:\\new\\temp\\x.txt",
	`C:\Users\bob\notes.txt`, `\u00e9t\u00e9`, `line one\nline two`, "a &amp; b", "x &lt; y", "&copy; 2026", "caf%C3%A9", `regexp: \d+\.\d+`, `"\\server\share"`, "100％", "价格：5", "名前：太郎", "（注）", "a＝b",
	// names of things with the word in it
	"get_token_count", "get_token_count failed: limit 20", "max_tokens: 4096", "token_type: bearer", "tokenizer=cl100k_base", "reset_password", "tool reset_password not found", "password_reset_url", "secret_santa",
	"list_api_keys", "rotate_secret returned 3 items", "passwordless login", "tokens: 99", "total_tokens=12", "progressToken=7", "nextPageToken", "key=value", "key: value", "public_key", "primary_key=id", "foreign key", "keyboard", "cookie_policy",
	"password policy", "token bucket", "csrf protection", "auth_method=none", "author: bob", "authority=example.com", "authorized", "sort_key: name", "partition_key=a", "is_secret: true", "has_password=false",
	// codes and signatures
	"code=200", "code=404 message=not found", "status code=500", "exit code=1", "exit code: 137", "error code=-32601", `{"code":-32601,"message":"Method not found"}`, "code: ENOENT", "code=ECONNREFUSED", "code = Unavailable desc = x",
	"rpc error: code = DeadlineExceeded desc = context deadline exceeded", "code=invalid_request", `"code":"invalid_grant"`, "code=ERR_HTTP2_STREAM_ERROR", "code: UND_ERR_CONNECT_TIMEOUT", "code=PGRST116", "code=42P01", "code: 0x80070005", "SQLSTATE code=23505",
	"code=SQLITE_CONSTRAINT", "code=E1234", "country_code=DE", "zip code: 10115", "code=utf-8", "code=en-US", "language code=zh-Hans-CN", "code: HTTP/1.1", "source code: main.go", "code=v1.2.3-rc1", "qr code=", "code=2026-11-30T18:36:25Z",
	"the sig= parameter is missing", "sig=SIGTERM", "sig=9", "signature: func(a int) error", "signature=invalid", "invalid signature: signature verification failed",
	// members, lists, blocks
	`{"name":"city","value":"Paris"}`, `{"value":"Paris","name":"city"}`, `{"name":"get_token_count","value":"42"}`, `{"name":"token_type","value":"bearer"}`, `[{"key":"Accept","value":"text/html"}]`, `{"name":"password"}`, `{"name":"token","type":"string"}`,
	`{"id":5,"value":true}`, "name: city\nvalue: Paris"[:10], `required: ["password","email"]`, `["token","password"]`, `["tools","token"]`, "- name: CITY", "description: |", "script: |", "when: >-", "a | b", "x > y", "text <<EOT", "if a << 2",
	`<input name="password">`, `<entry key="city">Paris</entry>`, `<value>5</value>`, "<b>bold</b>", "field: password is required", "missing field: token",
	// commands and statements
	"curl -v https://h.example/", "curl -u bob https://h.example/", "docker run -u 1000:1000 -p 8080:80 img", "docker exec -u www-data app", "git push -u origin main", "mkdir -p a/b", "cp -p a b", "ssh -p 22 h", "http -a", "mysql -u root -p db", "tar -xpf a.tar",
	"identified by name", "resource identified by its uri", "the user is identified by id", "password 'must be at least 8 characters'", "password is required", "password was changed", "login failed password incorrect", "SELECT password FROM users", "login with password", "password for 'bob' is wrong", "the password for user 'bob' expired",
	// what begins like a token
	"task-based", "risk-averse", "disk-usage", "desk-", "sk-", "key-value-store", "re_use_of_the_same_name", "test_get_user_by_id_returns_404", "live_streaming_enabled", "sl.example.com", "pat.smith@example.com", "s.someMethodOfTheServer()", "t1.micro", "v1.0-beta",
	"pul-request", "fc-cache", "pa-system", "ico-file", "sm_pat_x", "YCombinator", "SKU-1234", "AKIA", "LTAI", "EAAA", "dapi", "dapifer", "jina_ai", "e2b_sandbox", "squ_are", "hawk.eye", "BSA", "BSAVE", "APIs", "API-FIRST-DESIGN-GUIDELINES-V2", "secret_santa_list", "A3-size", "VF.1",
	"$1$", "$2b or not $2b", "costs $5 $6 $7", "$HOME/.config", "cost: $1,000.00", "sha256~", "a~b", "00D", "1//0", "http://h.example/1//0", "us-east-1", "deadbeef-us1", "live_", "npm_config_registry", "hf_hub_download", "github_actions", "ghp_", "xoxo", "rnd_seed", "odt_file", "aio_read",
	"SSWS", "the SSWS scheme", "Basic auth", "basic usage", "Bearer", "bearer of bad news", "by the way", "BY", "By 'default'",
}

func TestLookAlikesStay(t *testing.T) {
	if forms := len(issued) + len(notations); len(lookAlikes) < forms {
		t.Errorf("%d look-alikes, %d forms", len(lookAlikes), forms)
	}
	for _, s := range lookAlikes {
		for _, frame := range []string{"%s", "tool failed: %s, see the log", "a\n%s\nwas it", `{"message":%q}`} {
			in := fmt.Sprintf(frame, s)
			want := strings.ReplaceAll(in, "\n", " ")
			if got := Text(in, plenty); got != want {
				t.Errorf("Text(%q) = %q", in, got)
			}
		}
	}
}

// Identifiers and digests stay, whatever their digits are.
func TestIdentifiersStay(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	of := func(chars string, n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = chars[rnd.IntN(len(chars))]
		}
		return string(b)
	}
	for range 20_000 {
		for _, s := range []string{
			of(hexes, 32), of(hexes, 40), of(hexes, 64), strings.ToUpper(of(hexes, 64)), of(hexes, 128), of(hexes, 7), of("0123456789ABCDEFGHJKMNPQRSTVWXYZ", 26),
			of(hexes, 8) + "-" + of(hexes, 4) + "-4" + of(hexes, 3) + "-a" + of(hexes, 3) + "-" + of(hexes, 12), "v" + of(digits, 1) + "." + of(digits, 2) + "." + of(digits, 2), of(lowers, 12), of(digits, 10),
			of(lowers, 6) + "_" + of(lowers, 5) + "_" + of(lowers, 7), of(lowers, 6) + "-" + of(lowers, 5) + "-" + of(digits, 3), "v0.0.0-" + of(digits, 14) + "-" + of(hexes, 12),
		} {
			if got := Text("id "+s+" is gone", plenty); got != "id "+s+" is gone" {
				t.Fatalf("%q became %q", s, got)
			}
		}
	}
}
