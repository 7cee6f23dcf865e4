// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// What is known of an OAuth flow from one request to the next: what each request is for,
// which discovery it belongs to, and whose endpoints were found.

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mark3labs/mcp-go/client/transport"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/members"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// oauthFlow is a flow, or those of all handlers that share a config. mcp-go makes the
// requests of one handler one after the other.
type oauthFlow struct {
	direct   bool // the authorization server's metadata is at a given URL, and not checked
	named    bool // the resource's metadata is at a given URL, and not where the resource has it
	trusting bool // any issuer will do

	mu    sync.Mutex
	open  []*resourceStep
	moved []*moved
	found foundServer // the last that mcp-go went on to
}

// maxUnderWay caps how many discoveries and redirects of a flow are remembered at a
// time. There are more only where a program does not close the bodies of its answers.
const maxUnderWay = 32

// foundServer is an authorization server whose metadata mcp-go took.
type foundServer struct {
	issuer    string
	endpoints [2]string // where a client registers, and where tokens are
}

// oauthStep is what a request of the flow is for.
type oauthStep interface {
	// document returns the reader of what decides of an answer with that status, or nil
	// if mcp-go does not look at its body.
	document(status int) *members.Reader
	// decide returns what mcp-go made of the answer, or nil if that is no decision. It is
	// called once, when mcp-go is through with the answer.
	decide(a *answer) *operation.Decision
}

// answer is what mcp-go got.
type answer struct {
	err     error           // that it got none
	status  int             // else
	doc     *members.Reader // what document returned, which has read what mcp-go has
	failure error           // of reading
}

// oauthExchange is a step under way, its redirects included.
type oauthExchange struct {
	step  oauthStep
	start time.Time
}

// exchange returns what req belongs to, or nil if that is none of the flow. A redirected
// request belongs to what the first one did.
func (t *tripper) exchange(req *http.Request) *oauthExchange {
	f := t.oauth
	if f == nil {
		return nil
	}
	defer t.rec.Guard()
	if x := f.follows(req.Response); x != nil {
		return x
	}
	step := t.step(req)
	if step == nil {
		return nil
	}
	return &oauthExchange{step: step, start: time.Now()}
}

// step tells what a request is for by how mcp-go makes it.
func (t *tripper) step(req *http.Request) oauthStep {
	f := t.oauth
	if req.Header.Get("Accept") != "application/json" {
		return nil
	}
	t.learn(req)
	switch req.Method {
	case http.MethodGet:
		return f.discovers(req)
	case http.MethodPost:
		switch req.Header.Get("Content-Type") {
		case "application/json":
			return &registrationStep{issuer: f.issuerAt(req.URL)}
		case "application/x-www-form-urlencoded":
			return t.token(req)
		}
	}
	return nil
}

// token is for a request to the token endpoint. What it is, and for whom, stands in the
// form.
func (t *tripper) token(req *http.Request) oauthStep {
	form := formOf(req, t.known.sent.Add)
	mechanism := map[string]string{
		"authorization_code": semconv.OTelMCPAuthMechanismOAuthCode,
		"refresh_token":      semconv.OTelMCPAuthMechanismOAuthRefresh,
	}[form["grant_type"]]
	if mechanism == "" {
		return nil
	}
	s := &tokenStep{mechanism: mechanism, clientID: form["client_id"], resource: form["resource"], issuer: t.oauth.issuerAt(req.URL)}
	if s.clientID == "" {
		s.clientID = basicClient(req)
	}
	return s
}

// discovers returns the step of a request for metadata: of an authorization server where
// a discovery goes on to it, and else of a resource.
func (f *oauthFlow) discovers(req *http.Request) oauthStep {
	if f.direct {
		return &serverStep{flow: f}
	}
	about, _ := req.Context().Value(subjectKey{}).(*clientOp)
	f.mu.Lock()
	defer f.mu.Unlock()
	var of []*resourceStep // more than one where handlers that share a config do the same at a time
	for _, s := range f.open {
		if s.about == about && s.leadsTo(req.URL) {
			s.asked = true
			of = append(of, s)
		}
	}
	if of != nil {
		return &serverStep{flow: f, of: of}
	}
	s := &resourceStep{flow: f, at: req.URL, about: about}
	f.open = append(latest(f.open), s)
	return s
}

// latest is list without its oldest, where it is full.
func latest[T any](list []T) []T {
	if len(list) < maxUnderWay {
		return list
	}
	return slices.Delete(list, 0, 1)
}

// leadsTo reports whether s goes on to u, as far as s has got.
func (s *resourceStep) leadsTo(u *url.URL) bool {
	if !strings.Contains(u.Path, "/.well-known/oauth-authorization-server") && !strings.Contains(u.Path, "/.well-known/openid-configuration") {
		return false
	}
	server := s.at
	switch s.status {
	case 0:
		return false
	case http.StatusOK:
		var err error
		if server, err = url.Parse(s.next); err != nil {
			return false
		}
	}
	return strings.EqualFold(server.Scheme, u.Scheme) && strings.EqualFold(server.Hostname(), u.Hostname()) && server.Port() == u.Port()
}

// arrives is when the status of the metadata of a resource is known.
func (s *resourceStep) arrives(status int) {
	s.flow.mu.Lock()
	defer s.flow.mu.Unlock()
	s.status = status
}

// reads is when more of the metadata of a resource has been read.
func (s *resourceStep) reads() {
	next := s.server()
	s.flow.mu.Lock()
	defer s.flow.mu.Unlock()
	s.next = next
}

// ends is when mcp-go is through with the metadata of a resource, and returns how far it
// got. No other request belongs to s any more.
func (s *resourceStep) ends() progress {
	s.flow.mu.Lock()
	defer s.flow.mu.Unlock()
	s.flow.open = slices.DeleteFunc(s.flow.open, func(o *resourceStep) bool { return o == s })
	return s.progress
}

// goesOn is when mcp-go goes on to a server.
func (f *oauthFlow) goesOn(to foundServer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.found = to
}

// issuerAt is whose endpoint u is, as far as that is known.
func (f *oauthFlow) issuerAt(u *url.URL) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if slices.Contains(f.found.endpoints[:], u.String()) {
		return f.found.issuer
	}
	return ""
}

// maxEndpoint caps a URL whose issuer is remembered, in bytes.
const maxEndpoint = 4 << 10

// rememberedOf is what is remembered of metadata.
func rememberedOf(m *transport.AuthServerMetadata) foundServer {
	s := foundServer{issuer: clipped(m.Issuer, maxKept)}
	for k, at := range []string{m.RegistrationEndpoint, m.TokenEndpoint} {
		if len(at) <= maxEndpoint {
			s.endpoints[k] = at
		}
	}
	return s
}
