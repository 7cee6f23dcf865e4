// Copyright The otelmcp Authors
// SPDX-License-Identifier: Apache-2.0

package otelmcp

// What a client is sent unasked: notifications, the server's own requests, and
// what a result asks for in their place.

import (
	"context"
	"errors"
	"hash/maphash"
	"strconv"
	"strings"

	"github.com/mark3labs/mcp-go/client/transport"
	"github.com/mark3labs/mcp-go/mcp"
	"go.opentelemetry.io/otel/trace"

	"github.com/otelmcp/otelmcp-go/otelmcp/internal/jsonrpc"
	"github.com/otelmcp/otelmcp-go/otelmcp/internal/operation"
	"github.com/otelmcp/otelmcp-go/semconv"
)

// incoming starts the operation of what the server sends on its own. In meta it
// may name the span that sent it.
func (r *remote) incoming(o *operation.Operation, ctx context.Context, method string, meta map[string]any) {
	defer r.rec.Guard()
	r.start(o, ctx, operation.RoleServer, method)
	o.Stage = semconv.OTelMCPStageHandler
	var links []trace.SpanContext
	if len(meta) > 0 {
		o.Context, links = r.fromMeta(o.Context, o.Context, meta)
	}
	r.beginReceived(o, links)
}

// notified hands a notification of the server's to the program, and records it.
func (r *remote) notified(n mcp.JSONRPCNotification, handle func(mcp.JSONRPCNotification)) {
	o := &operation.Operation{}
	r.incoming(o, context.Background(), n.Method, n.Params.Meta)
	r.describeNotification(o, n)
	returned := false
	defer func() {
		if !returned {
			o.Outcome = semconv.OTelMCPOutcomePanic
		}
		o.Finish()
	}()
	handle(n)
	returned = true
}

// SetNotificationHandler sets the program's handler, and records what it gets.
func (r *remote) SetNotificationHandler(handle func(mcp.JSONRPCNotification)) {
	if handle == nil || !r.rec.Observable() {
		r.t.SetNotificationHandler(handle)
		return
	}
	r.t.SetNotificationHandler(func(n mcp.JSONRPCNotification) { r.notified(n, handle) })
}

// requestHandler returns the program's handler of what the server asks for, with
// what it is asked recorded.
func (r *remote) requestHandler(handle transport.RequestHandler) transport.RequestHandler {
	if handle == nil || !r.rec.Observable() {
		return handle
	}
	return func(ctx context.Context, request transport.JSONRPCRequest) (*transport.JSONRPCResponse, error) {
		params, _ := request.Params.(map[string]any)
		meta, _ := params["_meta"].(map[string]any)
		o := &clientOp{r: r}
		r.incoming(&o.Operation, ctx, request.Method, meta)
		o.RequestID, _ = jsonrpc.ID(request.ID.Value())
		o.Publish(operation.Parsed)
		returned := false
		defer func() {
			if !returned {
				o.Outcome = semconv.OTelMCPOutcomePanic
			}
			o.Finish()
		}()
		response, err := handle(o, request)
		returned = true
		switch {
		case err != nil:
			fail(&o.Operation, err)
			if o.Outcome == semconv.OTelMCPOutcomeError {
				o.Code = operation.CodeInternalError // as the transport answers
			}
		case response != nil && response.Error != nil:
			o.Code, o.Message = response.Error.Code, response.Error.Message
		}
		return response, err
	}
}

// maxInputs bounds what a server can have asked for and not been answered, and
// maxInputMethod, in bytes, what is kept of the method of each: it is longer than what
// the scrubber looks at.
const (
	maxInputs      = 256
	maxInputMethod = 8 << 10
)

// input is something that the server asked for in a result, which the program is
// answering.
type input struct {
	operation.Operation
	stop func() bool // of what waits for the caller to give up
}

// askInputs begins the operations of what a result asks for: the multi
// round-trip form (SEP-2322) of what used to be requests of the server's. The
// program's handlers are answering from now on.
func (r *remote) askInputs(c *call, result *jsonrpc.Result) {
	all := jsonrpc.Inputs(result.Requests)
	if len(all) > maxInputs/4 { // one result must not become any number of records
		all = all[:maxInputs/4]
		r.rec.Refuse(semconv.OTelMCPRefusedReasonPendingTable)
	}
	for _, asked := range all {
		in := &input{}
		method := asked.Method
		if len(method) > maxInputMethod { // no more of it is ever told
			method = strings.Clone(method[:maxInputMethod])
		}
		r.incoming(&in.Operation, c.Context, method, asked.Meta)
		key := r.inputKey(result.State, asked.ID)
		// Who takes the operation from the table finishes it. When the caller gives up,
		// no answer will come.
		giveUp := func() {
			if _, waits := r.inputs.TakeFunc(key, func(other *input) bool { return other == in }); waits {
				in.unanswered()
			}
		}
		in.stop = context.AfterFunc(c.Context, giveUp)
		if old, full := r.inputs.Add(key, in); full {
			r.rec.Refuse(semconv.OTelMCPRefusedReasonPendingTable)
			old.unanswered()
		}
		if c.Err() != nil { // which may have been before there was anything to take
			giveUp()
		}
	}
}

// answerInputs ends the operations whose answers the request carries.
func (r *remote) answerInputs(c *call) {
	if len(c.params.Responses) == 0 || r.inputs.Empty() {
		return
	}
	for _, answer := range jsonrpc.Inputs(c.params.Responses) {
		if in, ok := r.inputs.Take(r.inputKey(c.params.State, answer.ID)); ok {
			in.stop()
			in.Finish()
		}
	}
}

// forgetInputs ends what was never answered: a handler failed, or there was
// none.
func (r *remote) forgetInputs() {
	for _, in := range r.inputs.Drain() {
		in.unanswered()
	}
}

// inputKey is where what a result with the state asks for under id waits. Both are
// of any size, so their hash stands for them.
func (r *remote) inputKey(state, id string) string {
	return strconv.FormatUint(maphash.String(r.seed, state+"\x00"+id), 36)
}

// unanswered ends what the program did not answer. Its handler failed, or the
// program gave up before it was through: which of them cannot be told here.
func (in *input) unanswered() {
	in.stop()
	in.Outcome, in.ErrorType = semconv.OTelMCPOutcomeError, semconv.ErrorTypeUnanswered
	if errors.Is(in.Err(), context.DeadlineExceeded) {
		in.Outcome = semconv.OTelMCPOutcomeTimeout
	}
	in.Finish()
}
