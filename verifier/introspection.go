// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

// This file asks the authorization server what a token is worth (RFC 7662), and
// remembers the answer for a short time, without the token.

package verifier

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4/json"
)

const (
	maxStanding = 64 << 10 // bytes of an introspection response
	maxCached   = 1024     // tokens of each kind
	maxHeld     = 16 << 20 // bytes of what was said of them, of each kind
	maxRunning  = 256      // requests at a time; a caller that gives up does not end its own

	// refusedTime is how long a token that is not active stays so: long enough for one
	// that is tried over and over, short for one that becomes active only now.
	refusedTime = 5 * time.Second
)

// digest stands for a token: a hash under a key that no other process has.
type digest [sha256.Size]byte

// standing is what the server said of a token.
type standing struct {
	active bool
	claims claims // of a token that is or was active
	owner  claims // of any other: whose it was, if the server said so all the same
	size   int    // bytes that they take
	until  time.Time
}

// introspector asks. At most one request runs for a token.
type introspector struct {
	fetch           *fetcher
	now             func() time.Time
	url, id, secret string
	ttl             time.Duration
	forJWT          bool
	hashKey         [32]byte

	mu sync.Mutex
	// Apart, so that made-up tokens do not drive out good ones. What is active stays
	// after its time is over, for as long as there is room: it tells a token that
	// was revoked from one that never was.
	active  map[digest]standing
	refused map[digest]standing
	running map[digest]*call[standing]
}

// standing returns what the server says of the token now, or has said a short time
// ago. What it said before does not count when it cannot be asked.
func (i *introspector) standing(ctx context.Context, token string) (standing, error) {
	mac := hmac.New(sha256.New, i.hashKey[:])
	_, _ = mac.Write([]byte(token))
	d := digest(mac.Sum(nil))

	i.mu.Lock()
	now := i.now()
	for _, known := range []map[digest]standing{i.refused, i.active} {
		if s, ok := known[d]; ok && now.Before(s.until) {
			i.mu.Unlock()
			return s, nil
		}
	}
	c := i.running[d]
	if c == nil && len(i.running) >= maxRunning {
		i.mu.Unlock()
		return standing{}, unavailable("too many tokens are being asked about", nil)
	}
	if c == nil {
		c = begin(i.fetch,
			func(ctx context.Context) (standing, error) { return i.ask(ctx, d, token) },
			func(s standing, err error) { i.finish(d, s, err) })
		i.running[d] = c
	}
	i.mu.Unlock()
	return c.wait(ctx)
}

func (i *introspector) finish(d digest, s standing, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.running, d)
	switch {
	case err != nil:
	case s.active:
		put(i.active, d, s, i.now())
	default:
		put(i.refused, d, s, i.now())
	}
}

// put keeps m within its bounds. What is out of date goes first.
func put(m map[digest]standing, d digest, s standing, now time.Time) {
	delete(m, d)
	held := s.size
	for _, other := range m {
		held += other.size
	}
	for len(m) > 0 && (len(m) >= maxCached || held > maxHeld) {
		var victim digest
		for k, old := range m {
			victim = k
			if !now.Before(old.until) {
				break
			}
		}
		held -= m[victim].size
		delete(m, victim)
	}
	m[d] = s
}

// sizeOf is about how many bytes v takes, which encoding/json made: an element of two
// bytes can take twenty times as many.
func sizeOf(v any) int {
	const value, table = 24, 64
	switch v := v.(type) {
	case string:
		return value + len(v)
	case []any:
		size := value
		for _, e := range v {
			size += value + sizeOf(e)
		}
		return size
	case map[string]any:
		size := table
		for k, e := range v {
			size += table + len(k) + sizeOf(e)
		}
		return size
	}
	return value
}

func (i *introspector) ask(ctx context.Context, d digest, token string) (standing, error) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, i.url, strings.NewReader(form))
	if err != nil {
		return standing{}, unavailable("the introspection endpoint cannot be requested", nil)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(i.id), url.QueryEscape(i.secret))
	body, _, err := i.fetch.do(req, maxStanding)
	if err != nil {
		return standing{}, unavailable("the introspection endpoint is of no help: "+err.Error(), err)
	}
	var c claims
	active, ok := false, false
	if json.Unmarshal(body, &c) == nil {
		active, ok = c["active"].(bool)
	}
	switch {
	case !ok:
		return standing{}, unavailable("the introspection endpoint is of no help: "+failed(req.URL, "did not say whether the token is active", nil).Error(), nil)
	case active:
		return standing{active: true, claims: c, size: sizeOf(map[string]any(c)), until: i.now().Add(i.ttl)}, nil
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	s := standing{claims: i.active[d].claims, until: i.now().Add(refusedTime)}
	if s.claims == nil {
		s.owner = ownerIn(c)
	}
	s.size = sizeOf(map[string]any(s.claims)) + sizeOf(map[string]any(s.owner))
	return s, nil
}

// ownerIn returns what a response about a token that is not active says of whose it was.
// RFC 7662 section 2.2 would have it say nothing. What it does say is the authorization
// server's own word, as all that it says of a token that is active.
func ownerIn(c claims) claims {
	if sub, _ := c.text("sub"); sub == "" {
		return nil
	}
	owner := claims{}
	for _, name := range []string{"iss", "sub", "client_id", "azp", "exp"} {
		if v, present := c[name]; present {
			owner[name] = v
		}
	}
	return owner
}
