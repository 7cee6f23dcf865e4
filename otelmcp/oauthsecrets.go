// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// The secrets that a client sends and gets are known where it does. A decision that
// repeats one says so in its place, whoever put it there.

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/scrub"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/secrets"
)

// maxKept caps a text that is kept until it is recorded, in bytes. It is more than any
// attribute shows.
const maxKept = 4 << 10

// notClients are the client ids that were withheld. [ProcessAuthorizationResponse] asks
// the handler for its id, and knows no more of where it comes from.
var notClients secrets.Set

// withhold replaces what of d has a known secret in it, and drops what of its text is
// too much to show.
func withhold(d *operation.Decision, known *secrets.Set) {
	if known.In(clipped(d.ClientID, maxKept)) {
		notClients.Add(d.ClientID)
	}
	for _, text := range []*string{&d.ClientID, &d.Issuer, &d.ServerAddress, &d.Message} {
		*text = withheld(*text, known)
	}
	for _, list := range []*[]string{&d.Audience, &d.Required, &d.Granted} {
		*list = withheldList(*list, known)
	}
}

func withheld(text string, known *secrets.Set) string {
	text = clipped(text, maxKept)
	if known.In(text) {
		return scrub.Redacted
	}
	return text
}

func withheldList(list []string, known *secrets.Set) []string {
	if len(list) == 0 {
		return nil
	}
	kept := make([]string, 0, min(len(list), operation.MaxListed))
	for _, text := range list[:cap(kept)] {
		kept = append(kept, withheld(text, known))
	}
	if known.In(strings.Join(kept, " ")) { // in parts
		return []string{scrub.Redacted}
	}
	return kept
}

// learn makes the credentials of a request known.
func (t *tripper) learn(req *http.Request) {
	for _, value := range req.Header.Values("Authorization") {
		scheme, credentials, _ := strings.Cut(value, " ")
		t.known.Add(credentials)
		if !strings.EqualFold(scheme, "Basic") {
			continue
		}
		if _, password, ok := req.BasicAuth(); ok {
			t.known.Add(password)
			if plain, err := url.QueryUnescape(password); err == nil { // RFC 6749 section 2.3.1
				t.known.Add(plain)
			}
		}
	}
	for _, name := range keyHeaders {
		for _, value := range req.Header.Values(name) {
			t.known.Add(value)
		}
	}
	if o, ok := req.Context().Value(subjectKey{}).(*clientOp); ok && o.secrets != nil {
		for _, secret := range o.secrets {
			t.known.Add(secret)
		}
	}
}

// maxForm caps how much of a form is looked at, in bytes.
const maxForm = 4 << 20

// formOf returns those values of a form that are no secrets, and gives those that are to
// secret.
func formOf(req *http.Request, secret func(string)) map[string]string {
	if req.GetBody == nil {
		return nil
	}
	body, err := req.GetBody() // a copy: the request's own is not touched
	if err != nil {
		return nil
	}
	defer body.Close()
	raw, _ := io.ReadAll(io.LimitReader(body, maxForm))
	form := map[string]string{}
	for pair := range bytes.SplitSeq(raw, []byte("&")) {
		name, value, _ := bytes.Cut(pair, []byte("="))
		text, err := url.QueryUnescape(string(value))
		if err != nil {
			continue
		}
		switch string(name) {
		case "grant_type", "client_id", "resource":
			form[string(name)] = text
		case "code", "code_verifier", "refresh_token", "client_secret":
			secret(text)
		}
	}
	return form
}

// basicClient is the client that a request names in the place of a user.
func basicClient(req *http.Request) string {
	user, _, _ := req.BasicAuth()
	id, err := url.QueryUnescape(user)
	if err != nil {
		return ""
	}
	return id
}
