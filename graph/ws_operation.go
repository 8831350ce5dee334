package graph

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/coder/websocket"
	"github.com/rs/zerolog"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/coaidev/coai/models"
)

// operation is what a subscribe message started.
type operation struct {
	id   string // the client's
	stop context.CancelFunc
}

// subscribe starts an operation in a goroutine of its own.
func (s *socket) subscribe(m *message) {
	if !s.acknowledged.Load() {
		s.close(closeUnauthorized, "Unauthorized")
		return
	}
	req, err := decodeRequest(m.payload)
	if err != nil || m.id == "" {
		s.close(closeBadMessage, "Invalid message")
		return
	}
	ctx, stop := context.WithCancel(s.ctx)
	// Each operation is a request of its own in logs, errors and usage records.
	id := models.NewID(models.RequestPrefix)
	logger := zerolog.Ctx(ctx).With().Str("operation_id", id).Logger()
	ctx = logger.WithContext(models.WithRequestID(ctx, id))
	op := &operation{id: m.id, stop: stop}

	exists, refusal := s.register(op)
	switch {
	case exists:
		stop()
		s.close(closeSubscriberExists, "Subscriber for "+m.id+" already exists")
	case refusal != nil:
		stop()
		s.reply(frame("error", m.id, encodeErrors(gqlerror.List{shown(ctx, refusal)})))
	default:
		s.work.Go(func() { s.run(ctx, op, req) })
	}
}

// register counts the operation in, unless its id is taken or there may be no
// more of them.
func (s *socket) register(op *operation) (exists bool, refusal *models.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.operations[op.id] != nil {
		return true, nil
	}
	if s.draining {
		return false, models.Unavailable(models.CodeShuttingDown, "This server is shutting down. Connect again.")
	}
	if most := s.h.cfg.MaxOperations; s.running >= most {
		return false, &models.Error{
			Kind: models.KindRateLimited, Code: models.CodeRateLimitExceeded,
			Message: fmt.Sprintf("At most %d operations may run on a websocket at a time.", most),
		}
	}
	s.operations[op.id] = op
	s.running++
	return false, nil
}

// complete cancels an operation because the client wants no more of it. The id
// is free at once.
func (s *socket) complete(id string) {
	s.mu.Lock()
	op := s.operations[id]
	delete(s.operations, id)
	s.mu.Unlock()
	if op != nil {
		op.stop()
	}
}

// run executes an operation and writes its results.
func (s *socket) run(ctx context.Context, op *operation, req *request) {
	start, kind := time.Now(), ""
	defer func() {
		if p := recover(); p != nil {
			zerolog.Ctx(ctx).Error().Interface("panic", p).Bytes("stack", debug.Stack()).Msg("panic in operation")
			e, _ := models.AsError(nil)
			s.finish(op, "error", encodeErrors(gqlerror.List{shown(ctx, e)}))
		}
		op.stop()
		s.forget(op)
		zerolog.Ctx(ctx).Info().Str("operation", clip(req.operationName)).Str("kind", kind).
			Dur("duration", time.Since(start)).Msg("websocket operation")
	}()
	s.renew() // the key may have been revoked since the client signed in
	if ctx.Err() != nil {
		return
	}
	viewer := s.viewer.Load()
	if err := s.h.gate.admit(ctx, viewer); err != nil {
		e, known := models.AsError(err)
		if !known {
			zerolog.Ctx(ctx).Error().Err(err).Msg("operation could not be admitted")
		}
		s.finish(op, "error", encodeErrors(gqlerror.List{shown(ctx, e)}))
		return
	}
	ctx = models.WithViewer(ctx, viewer)
	oc, declinedResponse := s.h.prepare(ctx, req)
	if oc == nil {
		s.finish(op, "error", encodeErrors(declinedResponse.Errors))
		return
	}
	kind = string(oc.Operation.Operation)
	responses, opCtx := s.h.exec.DispatchOperation(ctx, oc)
	head := openFrame("next", op.id)
	var buf []byte
	for resp := responses(opCtx); resp != nil; resp = responses(opCtx) {
		buf = append(appendResponse(append(buf[:0], head...), resp), '}')
		if ctx.Err() != nil || s.write(buf) != nil {
			return
		}
	}
	if ctx.Err() == nil {
		s.finish(op, "complete", nil)
	}
}

// finish writes an operation's last message, unless the client has completed
// the operation itself and expects none.
func (s *socket) finish(op *operation, kind string, payload []byte) {
	s.mu.Lock()
	expected := s.operations[op.id] == op
	delete(s.operations, op.id)
	s.mu.Unlock()
	if expected && s.ctx.Err() == nil {
		_ = s.write(frame(kind, op.id, payload))
	}
}

// forget counts an operation out. The last one lets a draining connection end.
func (s *socket) forget(op *operation) {
	s.mu.Lock()
	if s.operations[op.id] == op {
		delete(s.operations, op.id)
	}
	s.running--
	last := s.draining && s.running == 0
	s.mu.Unlock()
	if last {
		s.close(websocket.StatusServiceRestart, "Shutting down")
	}
}

// drain ends the connection as soon as no operation is running, and lets none
// begin.
func (s *socket) drain() {
	s.mu.Lock()
	s.draining = true
	idle := s.running == 0
	s.mu.Unlock()
	if idle {
		s.close(websocket.StatusServiceRestart, "Shutting down")
	}
}
