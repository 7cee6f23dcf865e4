// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// This file lists the credentials that can be told by how they begin. docs/scrubbing.md shows the same table; a
// test compares them.

import "strings"

// alphabet is the set of characters that has to follow a prefix. Whatever the alphabet, a token goes on to the
// last character of base64url.
type alphabet uint16

const (
	word    alphabet = 1 << iota // of base64url: letters, digits, _ and -
	dots                         // word and . =
	alnum                        // letters and digits
	hex                          // hexadecimal digits
	dashes                       // hexadecimal digits and -
	upper                        // capitals, digits and -
	base64s                      // word and + / =
	crypts                       // letters, digits and . / $ = , + : @ * as in password hashes
	session                      // letters, digits and . _ !
)

var alphabetNames = map[alphabet]string{
	word: "letters, digits, `_-`", dots: "letters, digits, `_-.=`", alnum: "letters, digits", hex: "hexadecimal digits",
	dashes: "hexadecimal digits, `-`", upper: "capitals, digits, `-`", base64s: "letters, digits, `_-+/=`",
	crypts: "letters, digits, `./$=,+:@*`", session: "letters, digits, `._!`",
}

// inAlphabets says for every byte which alphabets it is in.
var inAlphabets = func() (t [256]alphabet) {
	add := func(a alphabet, chars string) {
		for _, c := range []byte(chars) {
			t[c] |= a
		}
	}
	for i := range t {
		c := byte(i)
		if isAlnum(c) {
			t[i] |= word | dots | alnum | base64s | crypts | session
		}
		if isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' {
			t[i] |= hex | dashes
		}
		if isDigit(c) || c >= 'A' && c <= 'Z' {
			t[i] |= upper
		}
	}
	add(word, "_-")
	add(dots, "_-.=")
	add(dashes|upper, "-")
	add(base64s, "_-+/=")
	add(crypts, "./$=,+:@*")
	add(session, "._!")
	return t
}()

// What else must hold for a token, since many a prefix is a usual word or part of one.
const (
	bound     = 1 << iota // there is no letter or digit before the prefix
	mixed                 // it has a digit or capital, or 20 characters without _ and -
	opaque                // it is not made of words and numbers, see isOpaque
	unlikeHex             // it has a letter that no hexadecimal digit is
	rest                  // all that follows in the text is secret, whatever it is
)

// kinds are the tokens of one issuer: how they begin, at least how many characters of which alphabet follow, and
// what else must hold.
var kinds = [...]struct {
	issuer string
	begins string
	abc    alphabet
	min    int
	must   uint8
}{
	// forges, registries and builds
	{"GitHub", "ghp_ gho_ ghu_ ghr_ github_pat_", word, 16, 0},
	{"GitHub", "ghs_", dots, 16, 0},
	{"GitLab", "glpat-", dots, 12, 0},
	{"GitLab", "glrt-", dots, 16, 0},
	{"GitLab", "gldt- glptt- glcbt- glimt- glsoat- gloas- glft- glagent- glffct- glwt- GR1348941", word, 16, 0},
	{"Atlassian", "ATAT ATCT ATBB", base64s, 24, 0},
	{"Bitbucket", "BBDC-", base64s, 24, mixed},
	{"npm", "npm_", word, 20, mixed},
	{"PyPI", "pypi-", word, 16, mixed},
	{"RubyGems", "rubygems_", word, 16, mixed},
	{"Clojars", "CLOJARS_", alnum, 20, mixed},
	{"Docker Hub", "dckr_pat_ dckr_oat_", word, 16, 0},
	{"JFrog", "AKCp", alnum, 32, bound},
	{"JFrog", "cmVmdGtu", base64s, 24, bound},
	{"Dependency-Track", "odt_", alnum, 32, bound | mixed},
	{"Sourcegraph", "sgp_ slk_", word, 32, bound | mixed},
	{"SonarQube", "squ_ sqp_ sqa_", alnum, 20, bound | mixed},
	{"Buildkite", "bkua_", alnum, 20, mixed},
	{"CircleCI", "CCIPAT_ CCIPRJ_", word, 20, 0},
	{"Octopus Deploy", "API-", upper, 24, bound | opaque},
	{"Harness", "pat. sat.", dots, 60, bound | mixed},
	{"Infracost", "ico-", alnum, 30, bound | mixed},
	{"StackHawk", "hawk.", dots, 36, bound | mixed},
	// chat
	{"Slack", "xoxa- xoxb- xoxc- xoxd- xoxe- xoxo- xoxp- xoxr- xoxs- xwfp-", word, 8, 0},
	{"Slack", "xoxe.", dots, 8, 0},
	{"Slack", "xapp-", word, 10, 0},
	// model providers and what agents use
	{"Anthropic", "sk-ant-", word, 8, 0},
	{"OpenAI", "sk-proj- sk-svcacct-", word, 8, 0},
	{"OpenAI", "sk-admin-", word, 16, mixed},
	{"OpenRouter", "sk-or-", word, 16, mixed},
	{"OpenAI and others", "sk-", word, 16, bound | mixed},
	{"Hugging Face", "hf_ api_org_", word, 20, mixed},
	{"Replicate", "r8_", word, 20, mixed},
	{"Groq", "gsk_", word, 20, mixed},
	{"xAI", "xai-", word, 20, mixed},
	{"Perplexity", "pplx-", word, 20, mixed},
	{"NVIDIA", "nvapi-", word, 20, mixed},
	{"Tavily", "tvly-", word, 16, mixed},
	{"Amazon Bedrock", "ABSK", base64s, 40, bound},
	{"Amazon Bedrock", "bedrock-api-key-", base64s, 20, 0},
	{"Pinecone", "pcsk_", word, 20, mixed},
	{"LangSmith", "lsv2_pt_ lsv2_sk_", word, 20, mixed},
	{"Together", "tgp_v1_", word, 20, mixed},
	{"Cerebras", "csk-", alnum, 20, bound | mixed},
	{"Jina", "jina_", alnum, 20, mixed},
	{"E2B", "e2b_", alnum, 20, bound | mixed},
	{"Firecrawl", "fc-", alnum, 20, bound | opaque},
	{"Brave Search", "BSA", word, 24, bound | opaque},
	{"Fireworks", "fw_", alnum, 20, bound | opaque},
	{"RunPod", "rpa_", alnum, 30, bound | mixed},
	{"Voyage", "pa-", word, 40, bound | opaque},
	{"ElevenLabs", "sk_", hex, 32, bound},
	{"PostHog", "phx_ phs_", word, 20, bound | mixed},
	// clouds and platforms
	{"AWS", "AKIA ASIA ABIA", upper, 12, 0},
	{"AWS", "ACCA", upper, 12, unlikeHex},
	{"AWS AppSync", "da2-", alnum, 24, bound | mixed},
	{"Amazon MWS", "amzn.mws.", dashes, 20, 0},
	{"Google", "AIza", word, 20, 0},
	{"Google", "ya29.", dots, 12, 0},
	{"Google", "GOCSPX-", word, 12, 0},
	{"Google", "1//0", word, 20, bound | mixed},
	{"Alibaba Cloud", "LTAI", alnum, 12, bound},
	{"Tencent Cloud", "AKID", alnum, 32, bound | opaque},
	{"Yandex Cloud", "AQVN", word, 32, bound},
	{"Yandex Cloud", "YC", word, 36, bound | opaque},
	{"Yandex Cloud", "t1.", dots, 60, bound | mixed},
	{"Cloudflare", "cfat_ cfut_ cfk_", alnum, 30, mixed},
	{"Cloudflare", "v1.0-", dashes, 60, bound},
	{"DigitalOcean", "dop_v1_ doo_v1_ dor_v1_", word, 16, 0},
	{"Heroku", "HRKU-", word, 20, 0},
	{"Fly.io", "fo1_ fm1a_ fm1r_ fm2_", base64s, 20, bound | mixed},
	{"Netlify", "nfp_ nfc_ nfo_ nfu_", word, 20, mixed},
	{"Render", "rnd_", alnum, 24, bound | mixed},
	{"Supabase", "sbp_ sb_secret_", word, 16, mixed},
	{"PlanetScale", "pscale_tkn_ pscale_pw_ pscale_oauth_", dots, 16, 0},
	{"Databricks", "dapi", alnum, 20, bound | opaque},
	{"HashiCorp Vault", "hvs. hvb. hvr.", word, 16, mixed},
	{"Pulumi", "pul-", alnum, 20, bound | mixed},
	{"Doppler", "dp.pt. dp.ct. dp.sa. dp.scim. dp.audit.", word, 16, 0},
	{"Doppler", "dp.st.", dots, 16, 0},
	{"1Password", "ops_eyJ", base64s, 20, 0},
	{"1Password", "A3-", upper, 26, bound | opaque},
	{"OpenShift", "sha256~", word, 32, bound | mixed},
	{"Prefect", "pnu_ pnb_", alnum, 24, bound | mixed},
	{"Scalingo", "tk-us-", word, 30, bound | mixed},
	{"Tailscale", "tskey-", word, 16, mixed},
	{"Defined Networking", "dnkey-", dots, 40, mixed},
	{"SettleMint", "sm_aat_ sm_pat_ sm_sat_", alnum, 16, mixed},
	{"Portainer", "ptr_", base64s, 30, bound | opaque},
	// observability
	{"Grafana", "glsa_", word, 16, 0},
	{"Grafana", "glc_", base64s, 20, mixed},
	{"Grafana", "eyJrIjoi", base64s, 40, bound},
	{"Sentry", "sntrys_ sntryu_", base64s, 16, mixed},
	{"New Relic", "NRAK- NRII- NRIQ- NRAA- NRRA- NRJS- NRBR-", word, 16, 0},
	{"New Relic Pixie", "px-api- px-dep-", dashes, 20, 0},
	{"Dynatrace", "dt0c01. dt0s01. dt0s02. dt0s16. dt0e01.", dots, 20, 0},
	{"Datadog", "ddp_ ddw_", alnum, 30, bound | mixed},
	{"Rootly", "rootly_", hex, 32, bound},
	// work and content
	{"Postman", "PMAK-", word, 16, 0},
	{"Linear", "lin_api_ lin_oauth_", word, 16, 0},
	{"Notion", "ntn_", word, 20, mixed},
	{"Notion", "secret_", alnum, 40, bound | mixed},
	{"Figma", "figd_ figu_ figo_", word, 16, mixed},
	{"Frame.io", "fio-u-", dots, 40, bound | mixed},
	{"Typeform", "tfp_", dots, 30, bound | mixed},
	{"ReadMe", "rdme_", alnum, 40, mixed},
	{"HubSpot", "pat-na1- pat-eu1-", word, 20, mixed},
	{"Contentful", "CFPAT-", word, 30, mixed},
	{"Dropbox", "sl.", dots, 60, bound | opaque},
	{"Apify", "apify_api_", alnum, 24, mixed},
	{"Adafruit", "aio_", alnum, 24, bound | opaque},
	{"Adobe", "p8e-", word, 24, bound | mixed},
	{"42", "s-s4t2ud- s-s4t2af-", hex, 32, 0},
	{"PubNub", "sec-c-", base64s, 30, bound | mixed},
	{"Voiceflow", "VF.", dots, 36, bound | mixed},
	// mail, payment and trade
	{"SendGrid", "SG.", dots, 24, mixed},
	{"Mailgun", "key- pubkey-", word, 32, bound | mixed},
	{"Brevo", "xkeysib- xsmtpsib-", word, 16, 0},
	{"Resend", "re_", word, 30, bound | opaque},
	{"Twilio", "SK", hex, 32, 0},
	{"Stripe", "sk_live_ rk_live_ pk_live_ sk_prod_ rk_prod_", word, 8, 0},
	{"Stripe", "sk_test_ rk_test_", word, 8, mixed},
	{"Stripe", "whsec_", base64s, 16, 0},
	{"Square", "sq0csp- sq0atp-", word, 16, 0},
	{"Square", "EAAA", word, 22, bound | opaque | unlikeHex},
	{"Meta", "EAA", alnum, 40, unlikeHex},
	{"Shopify", "shpat_ shpss_ shpca_ shppa_", word, 16, 0},
	{"Shippo", "shippo_live_ shippo_test_", hex, 30, 0},
	{"EasyPost", "EZAK EZTK", alnum, 40, bound | opaque},
	{"Duffel", "duffel_live_ duffel_test_", base64s, 30, mixed},
	{"Flutterwave", "FLWSECK- FLWSECK_TEST-", word, 12, 0},
	{"Plaid", "access-sandbox- access-development- access-production-", dashes, 20, 0},
	{"GoCardless, Twitch", "live_", dots, 30, bound | opaque},
	{"Lob", "live_ test_", hex, 30, bound},
	{"X", "AAAAAAAAAAAAAAAAAAAAA", base64s, 60, bound | opaque},
	{"Ramp", "ramp_sec_", alnum, 30, mixed},
	// keys and hashes
	{"age", "AGE-SECRET-KEY-", word, 16, 0},
	{"PuTTY private key", "PuTTY-User-Key-File-", 0, 0, rest},
	{"PEM in base64", "LS0tLS1CRUdJTi", base64s, 20, 0},
	{"JSON Web Token in base64", "ZXlK", base64s, 60, bound | mixed},
	{"NTLM message", "TlRMTVNTUAA", base64s, 20, bound},
	{"password hash", "$1$ $2a$ $2b$ $2x$ $2y$ $5$ $6$ $7$ $8$ $y$ $argon2i$ $argon2d$ $argon2id$ $krb5asrep$ $krb5tgs$", crypts, 28, 0},
}

// prefix is one way in which a token begins.
type prefix struct {
	issuer string
	s      string
	abc    alphabet
	min    int
	must   uint8
	left   int  // at least so many letters and digits before it belong to the token
	most   int  // at most so many characters follow, if not 0
	has    byte // a character that must be among them, if not 0
	at     int  // the place of the anchor in s
}

// odd are the tokens whose mark is not at their beginning, or that have a limit more.
var odd = [...]prefix{
	{issuer: "HCP Terraform", s: ".atlasv1.", left: 8, abc: dots, min: 16},
	{issuer: "MaxMind", s: "_mmk", left: 24},
	{issuer: "Azure DevOps", s: "AZDO", left: 70, abc: alnum, min: 4, most: 4},
	{issuer: "New Relic", s: "NRAL", left: 36},
	{issuer: "Mailchimp", s: "-us", left: 32, abc: hex, min: 1, most: 2},
	{issuer: "Stripe", s: "_secret_", left: 14, abc: alnum, min: 20},
	{issuer: "Salesforce", s: "00D", abc: session, min: 60, must: bound, has: '!'},
	{issuer: "JSON Web Token", s: "eyAi", abc: dots, min: 60, must: bound, has: '.'},
	{issuer: "JSON Web Token", s: "ewogIC", abc: dots, min: 60, must: bound, has: '.'},
	{issuer: "HashiCorp Vault", s: "s.", abc: alnum, min: 24, most: 24, must: bound | opaque},
}

// anchors are the bytes at which the scanner looks for a prefix. Every prefix has one that is not its first, or
// is the end of a token.
const anchors = "_-.~$0JABCDKRSVZpz"

// anchored says which prefixes have an anchor after which byte: anchored[anchor's number][byte before] is where
// they begin and end in prefixes.
var prefixes, anchored, anchorNumber = func() (all []prefix, index [len(anchors) + 1][128]struct{ from, to uint16 }, number [256]uint8) {
	var list []prefix
	for _, k := range kinds {
		for s := range strings.FieldsSeq(k.begins) {
			list = append(list, prefix{issuer: k.issuer, s: s, abc: k.abc, min: k.min, must: k.must})
		}
	}
	list = append(list, odd[:]...)
	for k := range list {
		p := &list[k]
		p.at = 1 + strings.IndexAny(p.s[1:], anchors)
	}
	for k := range anchors {
		n := k + 1
		number[anchors[k]] = uint8(n)
		for c := range index[n] {
			index[n][c].from = uint16(len(all))
			for _, p := range list {
				i := p.at
				if p.s[i] == anchors[k] && (i > 0 && p.s[i-1] == byte(c) || i == 0 && isAlnum(byte(c))) {
					all = append(all, p)
				}
			}
			index[n][c].to = uint16(len(all))
		}
	}
	return all, index, number
}()
