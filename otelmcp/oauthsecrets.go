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
	"github.com/otelmcp/otelmcp-go/semconv"
)

// maxKept caps a text that is kept until it is recorded, in bytes. It is more than any
// attribute shows.
const maxKept = 4 << 10

// maxItem is the same for an item of a list, of which there can be many.
const maxItem = 384

// notClients are the client ids that were withheld. [ProcessAuthorizationResponse] asks
// the handler for its id, and knows no more of where it comes from.
var notClients secrets.Set

// credentials are secrets that are known. Those that a peer gives out are kept apart, so
// that however many it gives out, what is sent to it stays known.
type credentials struct{ sent, issued secrets.Set }

// In reports whether a known secret, or much of one, stands in text.
func (c *credentials) In(text string) bool { return c.sent.In(text) || c.issued.In(text) }

// withhold replaces what of d has a known secret in it, and drops what of its text is
// too much to show.
func withhold(d *operation.Decision, known *credentials) {
	if known.In(clipped(d.ClientID, maxKept)) {
		notClients.Add(d.ClientID)
	}
	for _, text := range []*string{&d.ClientID, &d.Issuer, &d.ServerAddress, &d.Message} {
		*text = withheld(*text, known, maxKept)
	}
	for _, list := range []*[]string{&d.Audience, &d.Required, &d.Granted} {
		*list = withheldList(*list, known)
	}
}

// withheld is the first limit bytes of text, or says that there is a known secret in them.
func withheld(text string, known *credentials, limit int) string {
	text = clipped(text, limit)
	if known.In(text) {
		return scrub.Redacted
	}
	return text
}

func withheldList(list []string, known *credentials) []string {
	if len(list) == 0 {
		return nil
	}
	kept := make([]string, 0, min(len(list), operation.MaxListed))
	for _, text := range list[:cap(kept)] {
		kept = append(kept, withheld(text, known, maxItem))
	}
	if known.In(strings.Join(kept, " ")) { // in parts
		return []string{scrub.Redacted}
	}
	return kept
}

// learn makes the credentials of a request known.
func (t *tripper) learn(req *http.Request) {
	for name, values := range req.Header {
		t.known.learn(name, values)
	}
	if o, ok := req.Context().Value(subjectKey{}).(*clientOp); ok && o.secrets != nil {
		for _, secret := range o.secrets {
			t.known.sent.Add(secret)
		}
	}
}

// learn makes what a header that is sent has of credentials known.
func (c *credentials) learn(name string, values []string) {
	switch {
	case strings.EqualFold(name, "Authorization"), strings.EqualFold(name, "Proxy-Authorization"):
		for _, value := range values {
			c.authorized(value)
		}
	case strings.EqualFold(name, "Cookie"): // which the peer has chosen
		for _, line := range values {
			cookies, _ := http.ParseCookie(line)
			for _, cookie := range cookies {
				c.issued.Add(cookie.Value)
			}
		}
	case isKeyHeader(name):
		for _, value := range values {
			c.sent.Add(value)
		}
	}
}

// authorized makes the credentials known that an Authorization is.
func (c *credentials) authorized(value string) {
	scheme, rest, _ := strings.Cut(value, " ")
	if schemeOf(value) == semconv.OTelMCPAuthMechanismCustom { // or it has no scheme
		c.sent.Add(value)
	}
	c.sent.Add(strings.Trim(rest, " "))
	if !strings.EqualFold(scheme, "Basic") {
		return
	}
	_, password, ok := (&http.Request{Header: http.Header{"Authorization": {value}}}).BasicAuth()
	if !ok {
		return
	}
	c.sent.Add(password)
	if plain, err := url.QueryUnescape(password); err == nil { // RFC 6749 section 2.3.1
		c.sent.Add(plain)
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
