// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package clients

// The official Go SDK: as one of the clients, and as the one that signs in.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

func official(ctx context.Context, p Plan) (answers []Answer, err error) {
	var transport mcp.Transport = &mcp.CommandTransport{Command: exec.Command(p.Command)} //nolint:gosec // our own
	if p.URL != "" {
		connections := &http.Transport{}
		defer connections.CloseIdleConnections()
		transport = &mcp.StreamableClientTransport{
			Endpoint: p.URL, HTTPClient: &http.Client{Transport: &bearer{p.Token, connections}},
		}
	}
	client := mcp.NewClient(&mcp.Implementation{Name: p.Name, Version: p.Version}, nil)
	s, err := client.Connect(ctx, transport, &mcp.ClientSessionOptions{ProtocolVersion: p.Protocol})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for _, call := range p.Calls {
		result, err := request(ctx, s, call, mcp.Meta{"traceparent": p.Traceparent})
		if err != nil {
			answers = append(answers, Answer{Error: err.Error()})
			continue
		}
		raw, err := json.Marshal(result)
		if err != nil {
			return nil, err
		}
		answers = append(answers, Answer{Result: raw})
	}
	return answers, nil
}

func request(ctx context.Context, s *mcp.ClientSession, call Call, meta mcp.Meta) (any, error) {
	raw, err := json.Marshal(call.Params)
	if err != nil {
		return nil, err
	}
	switch call.Method {
	case "tools/list":
		return s.ListTools(ctx, &mcp.ListToolsParams{Meta: meta})
	case "tools/call":
		params := &mcp.CallToolParams{Meta: meta}
		if err := fill(params, raw); err != nil {
			return nil, err
		}
		return s.CallTool(ctx, params)
	case "prompts/get":
		params := &mcp.GetPromptParams{Meta: meta}
		if err := fill(params, raw); err != nil {
			return nil, err
		}
		return s.GetPrompt(ctx, params)
	case "resources/read":
		params := &mcp.ReadResourceParams{Meta: meta}
		if err := fill(params, raw); err != nil {
			return nil, err
		}
		return s.ReadResource(ctx, params)
	}
	return nil, fmt.Errorf("no way to call %s", call.Method)
}

func fill(params any, raw []byte) error { return json.Unmarshal(raw, params) }

// bearer sends a token with each request, if there is one.
type bearer struct {
	token string
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.next.RoundTrip(r)
}

// SignIn gets a token for the MCP server at resource, as the SDK does it: it is
// refused, and goes on from the challenge. user agrees to everything.
func SignIn(ctx context.Context, resource, user string, scopes ...string) (token string, err error) {
	const redirect = "http://127.0.0.1/callback" // where nothing listens: the redirection is read, not followed
	handler, err := auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
		DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{
			Metadata: &oauthex.ClientRegistrationMetadata{ClientName: "e2e", RedirectURIs: []string{redirect}},
		},
		AuthorizationCodeFetcher: func(ctx context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
			to, err := browse(ctx, args.URL+"&login_hint="+url.QueryEscape(user))
			if err != nil {
				return nil, err
			}
			back := to.Query()
			return &auth.AuthorizationResult{Code: back.Get("code"), State: back.Get("state"), Iss: back.Get("iss")}, nil
		},
		ScopeFilter: func([]string) []string { return scopes },
	})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, resource, http.NoBody)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req) //nolint:bodyclose // Authorize does it
	if err != nil {
		return "", err
	}
	if err := handler.Authorize(ctx, req, res); err != nil {
		return "", err
	}
	source, err := handler.TokenSource(ctx)
	if err != nil {
		return "", err
	}
	t, err := source.Token()
	if err != nil {
		return "", err
	}
	return t.AccessToken, nil
}

// browse opens an address and returns where it redirects to.
func browse(ctx context.Context, address string) (*url.URL, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if err := res.Body.Close(); err != nil {
		return nil, err
	}
	return res.Location()
}
