// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package main

// The client's side: mcp-go's OAuth client, instrumented, and what it leaves to
// the program, which is to bring the user to the authorization server and back.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"

	"github.com/otelmcp/otelmcp-go/otelmcp"
)

// redirectURI is where the authorization server sends the user back to. Nothing
// listens there: the browser of this demo reads the redirection itself.
const redirectURI = "http://127.0.0.1/callback"

// user is somebody with a client: whose tokens it has, and what it last heard from
// the server.
type user struct {
	name     string
	endpoint string // of the MCP server
	clientID string // empty until the client has registered
	tokens   *client.MemoryTokenStore
	web      *http.Client
	heard    *listener
	mcp      *client.Client
}

func newUser(name, endpoint string) *user {
	tokens := client.NewMemoryTokenStore()
	heard := &listener{tokens: tokens, next: &http.Transport{DisableKeepAlives: true}} // no idle connection outlives its client
	return &user{name: name, endpoint: endpoint, tokens: tokens, heard: heard, web: &http.Client{Transport: heard}}
}

// signIn gets a token for the scopes: metadata of the resource (RFC 9728) and of
// its authorization server (RFC 8414), registration (RFC 7591), authorization with
// PKCE for this resource (RFC 8707), and the exchange of the code.
//
// otelmcp.InstrumentOAuth records what is decided on the way.
func (u *user) signIn(ctx context.Context, scopes ...string) error {
	handler := transport.NewOAuthHandler(otelmcp.InstrumentOAuth(u.oauth(scopes)))
	handler.SetBaseURL(u.endpoint)
	if u.clientID == "" {
		if err := handler.RegisterClient(ctx, "oauth-example"); err != nil {
			return err
		}
		u.clientID = handler.GetClientID()
	}
	proof, err := client.GenerateCodeVerifier()
	if err != nil {
		return err
	}
	state, err := client.GenerateState()
	if err != nil {
		return err
	}
	address, err := handler.GetAuthorizationURL(ctx, state, client.GenerateCodeChallenge(proof))
	if err != nil {
		return err
	}
	metadata, err := handler.GetServerMetadata(ctx)
	if err != nil {
		return err
	}
	back, err := u.browse(ctx, address)
	if err != nil {
		return err
	}
	if problem := back.Get("error"); problem != "" {
		return fmt.Errorf("the authorization server said %s: %s", problem, back.Get("error_description"))
	}
	// RFC 9207, which mcp-go leaves to its user. Servers that do not announce it
	// send no iss; this one does.
	if back.Get("iss") != metadata.Issuer {
		return errors.New("the answer comes from another authorization server")
	}
	return otelmcp.ProcessAuthorizationResponse(ctx, handler, back.Get("code"), back.Get("state"), proof)
}

func (u *user) oauth(scopes []string) client.OAuthConfig {
	return client.OAuthConfig{
		ClientID: u.clientID, RedirectURI: redirectURI, Scopes: scopes,
		TokenStore: u.tokens, PKCEEnabled: true, HTTPClient: u.web,
	}
}

// browse stands in for the browser: it opens the address, as the user, and
// returns what it is sent back with.
func (u *user) browse(ctx context.Context, address string) (url.Values, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"&login_hint="+url.QueryEscape(u.name), http.NoBody)
	if err != nil {
		return nil, err
	}
	browser := *u.web
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := browser.Do(req)
	if err != nil {
		return nil, err
	}
	if err := res.Body.Close(); err != nil {
		return nil, err
	}
	to, err := res.Location()
	if err != nil || !strings.HasPrefix(to.String(), redirectURI+"?") {
		return nil, fmt.Errorf("the authorization server did not send the user back: %s", res.Status)
	}
	return to.Query(), nil
}

// newClient makes an instrumented client. opts say whether it sends the user's
// tokens, and which session it goes on with.
func (u *user) newClient(opts ...transport.StreamableHTTPCOption) (*client.Client, error) {
	t, err := transport.NewStreamableHTTP(u.endpoint, append(opts,
		transport.WithHTTPBasicClient(otelmcp.InstrumentHTTPClient(u.web)), // which hears why it is refused
		transport.WithHTTPLogger(slog.New(slog.DiscardHandler)),            // what fails is an error of the call
	)...)
	if err != nil {
		return nil, err
	}
	// The era of the protocol that has sessions, since one is to be hijacked.
	legacy := client.WithLegacyProtocolOnly() //nolint:staticcheck // deprecated with that era
	options := []client.ClientOption{legacy}
	if t.GetSessionId() != "" {
		options = append(options, client.WithSession())
	}
	return client.NewClient(otelmcp.WrapTransport(t), options...), nil
}

// hello starts c and shakes hands.
func hello(ctx context.Context, c *client.Client) error {
	if err := c.Start(ctx); err != nil {
		return err
	}
	req := mcp.InitializeRequest{}
	req.Params.ClientInfo = mcp.Implementation{Name: "oauth-example", Version: "1.0.0"}
	_, err := c.Initialize(ctx, req)
	return err
}

// connect starts the user's session, and learns which tools there are: spans and
// metrics name only those.
func (u *user) connect(ctx context.Context) (tools []string, err error) {
	c, err := u.newClient(transport.WithHTTPOAuth(u.oauth(nil)))
	if err != nil {
		return nil, err
	}
	u.mcp = c
	if err := hello(ctx, c); err != nil {
		return nil, err
	}
	list, err := c.ListTools(ctx, mcp.ListToolsRequest{})
	if err != nil {
		return nil, err
	}
	for k := range list.Tools {
		tools = append(tools, list.Tools[k].Name)
	}
	return tools, nil
}

// use makes the client send another token from now on.
func (u *user) use(ctx context.Context, token string) error {
	return u.tokens.SaveToken(ctx, &client.Token{AccessToken: token, TokenType: "Bearer"})
}

// token is what the client sends now.
func (u *user) token(ctx context.Context) (string, error) {
	t, err := u.tokens.GetToken(ctx)
	if err != nil {
		return "", err
	}
	return t.AccessToken, nil
}

// call calls a tool, in the session of the user unless c says otherwise.
func call(ctx context.Context, c *client.Client, tool string, arguments map[string]any) (string, error) {
	req := mcp.CallToolRequest{}
	req.Params.Name, req.Params.Arguments = tool, arguments
	result, err := c.CallTool(ctx, req)
	if err != nil {
		return "", err
	}
	said := ""
	if len(result.Content) > 0 {
		said = mcp.GetTextFromContent(result.Content[0])
	}
	if result.IsError {
		return "", errors.New(said)
	}
	return said, nil
}

// listener stands between mcp-go and the network, for what mcp-go does not do. It
// remembers the last answer of the MCP server: the status of a refusal and the
// challenge that came with it reach no caller. And it sends the token with the
// request that ends the session, which else comes without and is refused.
type listener struct {
	tokens client.TokenStore
	next   http.RoundTripper

	mu        sync.Mutex
	status    int
	challenge string
}

// RoundTrip implements http.RoundTripper.
func (l *listener) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path != endpointPath {
		return l.next.RoundTrip(r)
	}
	if r.Method == http.MethodDelete {
		if token, err := l.tokens.GetToken(r.Context()); err == nil {
			r = r.Clone(r.Context())
			r.Header.Set("Authorization", "Bearer "+token.AccessToken)
		}
	}
	res, err := l.next.RoundTrip(r)
	if err == nil {
		l.mu.Lock()
		l.status, l.challenge = res.StatusCode, res.Header.Get("WWW-Authenticate")
		l.mu.Unlock()
	}
	return res, err
}

func (l *listener) last() (status int, challenge string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status, l.challenge
}

// parameter reads a parameter of a challenge, such as the scopes to step up to.
// It is enough for what otelmcp sends.
func parameter(challenge, name string) string {
	_, value, found := strings.Cut(challenge, name+`="`)
	if !found {
		return ""
	}
	value, _, _ = strings.Cut(value, `"`)
	return value
}
