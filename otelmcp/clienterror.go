// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// What the error of a client's transport says: mcp-go has types for a few, and
// words for the rest.

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"

	"github.com/mark3labs/mcp-go/client/transport"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// fail fills what the error of a transport, or of a handler, says.
func fail(o *operation.Operation, err error) {
	o.Message = err.Error()
	var oauth *transport.OAuthAuthorizationRequiredError
	switch status := statusIn(o.Message); {
	case timedOut(err):
		o.Outcome = semconv.OTelMCPOutcomeTimeout
	case errors.Is(err, context.Canceled):
		o.Outcome = semconv.OTelMCPOutcomeCancelled
		o.Facts = append(o.Facts, semconv.OTelMCPCancelSourceKey.String(semconv.OTelMCPCancelSourceClientRequest))
	case errors.Is(err, transport.ErrSessionTerminated):
		o.HTTPStatus = 404
	case errors.As(err, &oauth):
		o.Outcome, o.ErrorType = semconv.OTelMCPOutcomeDenied, semconv.ErrorTypeAuthorizationRequired
	case errors.Is(err, transport.ErrAuthorizationRequired):
		o.HTTPStatus = 401
	case errors.Is(err, transport.ErrLegacySSEServer):
		o.Outcome, o.ErrorType = semconv.OTelMCPOutcomeRejected, semconv.ErrorTypeLegacyServer
	case status != 0:
		o.HTTPStatus = status
	default:
		o.Outcome, o.ErrorType = semconv.OTelMCPOutcomeError, transportError(err)
	}
}

func timedOut(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	if t, ok := errors.AsType[net.Error](err); ok && t.Timeout() {
		return true
	}
	return strings.HasPrefix(err.Error(), "timeout waiting for") // the HTTP+SSE transport's
}

// statusIn reads the HTTP status that mcp-go puts into the text of its errors, in
// front of what the server said.
func statusIn(text string) int {
	for _, before := range []string{"failed with status ", "unexpected status code: ", "unexpected status "} {
		_, after, ok := strings.Cut(text, before)
		if !ok || len(after) < 3 {
			continue
		}
		if status, err := strconv.Atoi(after[:3]); err == nil && status >= 400 && status < 600 {
			return status
		}
	}
	return 0
}

func transportError(err error) string {
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return semconv.ErrorTypeNameResolution
	}
	if untrusted(err) {
		return semconv.ErrorTypeTLS
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return semconv.ErrorTypeConnectionRefused
	case errors.Is(err, transport.ErrTransportClosed), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, io.ErrClosedPipe), errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		strings.Contains(err.Error(), "connection has been closed"), // the HTTP+SSE transport's
		strings.HasSuffix(err.Error(), "unexpected nil response"):   // a stream that ended without the answer
		return semconv.ErrorTypeConnectionLost
	}
	return semconv.ErrorTypeOther
}

func untrusted(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return true
	}
	_, ok := errors.AsType[x509.UnknownAuthorityError](err)
	return ok
}
