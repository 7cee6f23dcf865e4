// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package operation

// The rules that turn what happened to a message into an outcome, an
// error.type, a span status and a severity. They are the same for every
// method and SDK; role decides the one place where they differ.

import (
	"net/http"
	"strconv"

	"go.opentelemetry.io/otel/log"

	"github.com/otelmcp/otelmcp-go/semconv"
)

// JSON-RPC 2.0 and MCP error codes that the rules name.
const (
	CodeParseError       = -32700
	CodeInvalidRequest   = -32600
	CodeMethodNotFound   = -32601
	CodeInvalidParams    = -32602
	CodeInternalError    = -32603
	CodeResourceNotFound = -32002
)

// CallersFault reports whether a server that answers with code did its job:
// the conventions count these as the caller's mistakes, so the server's span
// carries the code and no error.
func CallersFault(code int) bool {
	switch code {
	case CodeParseError, CodeInvalidRequest, CodeMethodNotFound, CodeInvalidParams, CodeResourceNotFound:
		return true
	}
	return false
}

// result is what Finish derives from the facts.
type result struct {
	outcome   string // one of semconv's otelmcp.outcome values
	errorType string // error.type, empty when the operation did not fail
	code      string // rpc.response.status_code, empty without an error code
}

// resolve applies the error rules of the conventions to the facts.
//
// A JSON-RPC code is always recorded. For a client every code is an error; for
// a server a code that names the caller's fault is none. What is known more
// precisely than by its code (a panic, a timeout) names error.type instead of
// the code. An expected failure is no error to either side.
func (o *Operation) resolve() result {
	r := result{outcome: o.Outcome}
	if o.Code != 0 {
		r.code = codeString(o.Code)
	}
	if r.outcome == "" {
		switch {
		case o.Code == 0 && o.HTTPStatus >= http.StatusBadRequest:
			r.outcome = outcomeOfStatus(o.HTTPStatus)
		case o.Code == 0:
			r.outcome = semconv.OTelMCPOutcomeOK
		case (o.Role == RoleServer || o.Expected) && CallersFault(o.Code):
			r.outcome = semconv.OTelMCPOutcomeRejected
		default:
			r.outcome = semconv.OTelMCPOutcomeError
		}
	}
	switch {
	case o.Expected:
	case r.outcome == semconv.OTelMCPOutcomeToolError:
		r.errorType = semconv.ErrorTypeToolError
	case r.outcome == semconv.OTelMCPOutcomePanic:
		r.errorType = semconv.ErrorTypePanic
	case r.outcome == semconv.OTelMCPOutcomeTimeout:
		r.errorType = semconv.ErrorTypeTimeout
	case o.Code != 0 && (o.Role == RoleClient || !CallersFault(o.Code)):
		r.errorType = r.code
	case o.Code == 0 && o.HTTPStatus >= http.StatusBadRequest && r.outcome != semconv.OTelMCPOutcomeCancelled &&
		(r.outcome != semconv.OTelMCPOutcomeDenied || o.Role == RoleClient):
		r.errorType = statusText(o.HTTPStatus) // who refuses by authentication or authorization does not fail
	case o.ErrorType != "":
		r.errorType = o.ErrorType
	case r.outcome == semconv.OTelMCPOutcomeCancelled:
		r.errorType = semconv.ErrorTypeCancelled
	case r.outcome == semconv.OTelMCPOutcomeError:
		r.errorType = semconv.ErrorTypeOther
	}
	return r
}

// outcomeOfStatus is for an HTTP exchange that was refused without a JSON-RPC
// error.
func outcomeOfStatus(status int) string {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return semconv.OTelMCPOutcomeDenied
	case status >= http.StatusInternalServerError:
		return semconv.OTelMCPOutcomeError
	}
	return semconv.OTelMCPOutcomeRejected
}

// severity is how loud an outcome is in a log.
func severity(outcome string) (log.Severity, string) {
	switch outcome {
	case semconv.OTelMCPOutcomeError, semconv.OTelMCPOutcomeTimeout, semconv.OTelMCPOutcomePanic:
		return log.SeverityError, "ERROR"
	case semconv.OTelMCPOutcomeRejected, semconv.OTelMCPOutcomeDenied, semconv.OTelMCPOutcomeToolError:
		return log.SeverityWarn, "WARN"
	}
	return log.SeverityInfo, "INFO"
}

// codeString renders the codes that nearly every error uses without
// allocating. See codes.go for what metrics carry of it.
func codeString(code int) string {
	switch code {
	case CodeParseError:
		return "-32700"
	case CodeInvalidRequest:
		return "-32600"
	case CodeMethodNotFound:
		return "-32601"
	case CodeInvalidParams:
		return "-32602"
	case CodeInternalError:
		return "-32603"
	case CodeResourceNotFound:
		return "-32002"
	}
	return strconv.Itoa(code)
}
