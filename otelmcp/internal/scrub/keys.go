// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package scrub

// This file knows which names stand for a secret, and which words after such a name are plain prose.

import (
	"bytes"
	"strings"
)

const maxKey = 64

// needle is a word to find in a normalized name; letters is the set of its letters, a cheap first test.
type needle struct {
	word    []byte
	letters uint32
}

func needles(words string) (out []needle) {
	for w := range strings.FieldsSeq(words) {
		out = append(out, needle{[]byte(w), letterSet([]byte(w))})
	}
	return out
}

func letterSet(b []byte) (set uint32) {
	for _, c := range b {
		if c >= 'a' && c <= 'z' {
			set |= 1 << (c - 'a')
		}
	}
	return set
}

func set(words string) map[string]struct{} {
	m := make(map[string]struct{})
	for w := range strings.FieldsSeq(words) {
		m[w] = struct{}{}
	}
	return m
}

var (
	// A name that has one of these anywhere in it is secret, unless it ends in one of keyAbout.
	keyHas = needles(`password passwd passphrase passcode secret apikey privatekey credential authorization accesskey
		authtoken accesstoken refreshtoken bearertoken sessiontoken apitoken tokenvalue`)
	// A name that ends in one of these is secret.
	keyEnds = needles(`token pwd cookie cookies jwt signingkey encryptionkey masterkey accountkey sharedkey authkey
		servicekey subscriptionkey functionskey sessionkey deploykey hmackey userpass dbpass codeverifier clientassertion
		xamzsignature samlresponse samlassertion appkey applicationkey adminkey licensekey presharedkey consumerkey unsealkey
		writekey iokey provisiondevicekey authcode devicecode crumb sonarlogin gitlabsession mnemonic seedphrase recoverycode
		recoverycodes backupcode backupcodes`)
	keyIs = set(`auth xauth proxyauth basicauth httpauth authheader bearer pass pw otp totp creds jsessionid phpsessid
		connectsid pat xkey`)
	// Such names say something about a secret, they do not hold one.
	keyAbout = needles(`policy length len expired expiry expires expiresat expiresin type types count required field
		enabled name names url uri endpoint endpoints server servers path file hint reset changed changedat strength
		supported valid invalid error errors method methods size limit age manager version`)
	keyNot = set(`progresstoken pagetoken nextpagetoken prevpagetoken previouspagetoken continuationtoken
		cancellationtoken eostoken bostoken padtoken unktoken stoptoken secretary`)

	// Words after "token:" or "Bearer" that belong to a sentence and are no value.
	prose = set(`a about absent access active address after all already also although always an and another any are as
		at attempt attribute audience auth authenticated authentication authorization authorized bad be because been
		before being blank both but by called can can't cannot cant challenge change changed check claim claims client
		contains corrupt corrupted could couldn't credential credentials decode decoding decrypt denied did didn't
		disabled disallowed do does doesn't doesnt domain doesn't due during each either empty encoding enter entered
		error exchange exceeded exceeds exist existing exists expected expire expired expires expiry external failed
		fails failure false field fields file flow for forbidden format found from general generated given grant
		grants had handler has hash have header headers http https if illegal in incorrect ineligible input insufficient
		internal introspection invalid is issue issued issuer it its jwt key keys kid length level limit load loading
		lookup malformed may mechanism method methods mismatch mismatched missing must need needed needs never new nil
		no non none not null of on one only operation optional or other out over parameter parse parsing payload
		permission permissions please policy prefix present problem provide provided provider read reading realm received
		refresh refreshed refused rejected request requested require required requires reset resource response
		retrieval revoked rotation scheme schemes scope scopes security send sent server session set shall should
		signature signed signing size some still string subject such supplied support supported than that the their
		them then there these they this to token tokens too true type undefined unable unauthenticated unauthorized
		unavailable unexpected unknown unmarshal unreadable unrecognized unset unsupported unverified until usage use
		used user using valid validate validated validation value values verification verified verify version was we
		were when where which while will with without won't would wrong yet you your`)
	// Values that are no secret under any name.
	nothing = set(`true false null nil none undefined`)
	// Words between the name of a secret and its value: "API key provided: x".
	filler = set(`provided given used supplied value was is sent received got header`)
	// The second of two words that name a secret only together: "API key: x".
	second = set(`key keys word phrase code`)
	// Words before "token:" that make it a parser's token.
	parser = set(`unexpected illegal syntax unrecognized`)

	wordAuthorization = []byte("authorization")
	wordCookie        = []byte("cookie")
	wordCookies       = []byte("cookies")
)

// SensitiveKey reports whether a value under this name is a secret by its name alone: passwords, tokens,
// API keys, cookies and the like, in any case and with any of _ - . or nothing between the words.
func SensitiveKey(name string) bool {
	if len(name) > maxKey {
		name = name[len(name)-maxKey:]
	}
	var buf [maxKey]byte
	return sensitive(buf[:normalize(&buf, 0, name)], name)
}

// normalize appends the letters and digits of name in lower case to the first n bytes of buf and returns how
// many there are then.
func normalize(buf *[maxKey]byte, n int, name string) int {
	for i := 0; i < len(name) && n < maxKey; i++ {
		c := name[i]
		switch {
		case c >= 'A' && c <= 'Z':
			c += 'a' - 'A'
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
		default:
			continue
		}
		buf[n] = c
		n++
	}
	return n
}

func sensitive(norm []byte, name string) bool {
	for len(norm) > 2 && norm[len(norm)-1] >= '0' && norm[len(norm)-1] <= '9' {
		norm = norm[:len(norm)-1] // password1, token2
	}
	if len(norm) <= 10 {
		if _, ok := keyIs[string(norm)]; ok {
			return true
		}
	}
	if len(name) > 5 && strings.EqualFold(name[len(name)-4:], "pass") && !isAlnum(name[len(name)-5]) {
		return true // DB_PASS, but not bypass
	}
	if n := len(name) - 4; n > 0 && (name[n] == '_' || name[n] == '-') && strings.EqualFold(name[n+1:], "pat") {
		return true // GITHUB_PAT, a personal access token
	}
	if len(norm) < 3 {
		return false
	}
	letters := letterSet(norm)
	last := norm[len(norm)-1]
	for i := range keyEnds {
		if w := &keyEnds[i]; w.word[len(w.word)-1] == last && w.letters&^letters == 0 && bytes.HasSuffix(norm, w.word) {
			_, not := keyNot[string(norm)]
			return !not
		}
	}
	for i := range keyHas {
		w := &keyHas[i]
		if w.letters&^letters != 0 || !bytes.Contains(norm, w.word) {
			continue
		}
		if _, not := keyNot[string(norm)]; not {
			return false
		}
		for j := range keyAbout {
			if bytes.HasSuffix(norm, keyAbout[j].word) {
				return false
			}
		}
		return true
	}
	return false
}

// inSet reports whether the word, in lower case, is in the set.
func inSet(m map[string]struct{}, word string) bool {
	var buf [24]byte
	if word == "" || len(word) > len(buf) {
		return false
	}
	for i := range len(word) {
		c := word[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		buf[i] = c
	}
	_, ok := m[string(buf[:len(word)])]
	return ok
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isKeyChar(c byte) bool { return isAlnum(c) || c == '_' || c == '-' || c == '.' || c == '$' }

func isSpace(c byte) bool { return c == ' ' || c == '\n' }

// isWord is the alphabet of base64url, which is that of most tokens.
func isWord(c byte) bool { return isAlnum(c) || c == '_' || c == '-' }
