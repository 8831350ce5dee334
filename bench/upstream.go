package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/tidwall/gjson"
)

// credential is what the gateway shows the upstream; only it is counted.
const credential = "sk-upstream"

// The usage that the upstream tells for each completion.
const promptTokens, wholeTokens = 21, 16

// upstream answers as OpenAI does, as fast as it can, or in chunks as slowly
// as the request says in x_chunks and x_interval_us.
type upstream struct {
	srv       *http.Server
	completed atomic.Int64 // answers given to the gateway whole
	tokens    atomic.Int64 // their completion tokens
}

// tally is what an upstream has given the gateway.
type tally struct{ Completed, Tokens int64 }

func serveUpstream(ctx context.Context, out io.Writer) error {
	u := &upstream{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/chat/completions", u.complete)
	mux.HandleFunc("GET /tally", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(tally{Completed: u.completed.Load(), Tokens: u.tokens.Load()})
	})
	// Whoever keeps idle connections loses them: what is left open afterwards is held by mistake.
	mux.HandleFunc("POST /close-idle", func(http.ResponseWriter, *http.Request) {
		u.srv.SetKeepAlivesEnabled(false)
		u.srv.SetKeepAlivesEnabled(true)
	})
	u.srv = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	return serve(ctx, u.srv, out)
}

// serve serves on a free port of the loopback, says which on out, and ends with ctx.
func serve(ctx context.Context, srv *http.Server, out io.Writer) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	_, _ = fmt.Fprintf(out, "http://%s\n", l.Addr())
	context.AfterFunc(ctx, func() { _ = srv.Close() })
	if err := srv.Serve(l); ctx.Err() == nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

const wholeAnswer = `{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"bench","choices":[{"index":0,"message":{"role":"assistant","content":"The quick brown fox jumps over the lazy dog, and nobody minds.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":21,"completion_tokens":16,"total_tokens":37,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_bench"}`

func (u *upstream) complete(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	gateway := r.Header.Get("Authorization") == "Bearer "+credential
	tokens := int64(wholeTokens)
	if gjson.GetBytes(body, "stream").Bool() {
		chunks := gjson.GetBytes(body, "x_chunks").Int()
		tokens = chunks
		interval := time.Duration(gjson.GetBytes(body, "x_interval_us").Int()) * time.Microsecond
		if !stream(r.Context(), w, chunks, interval) {
			return
		}
	} else {
		h := w.Header()
		h["Content-Type"] = []string{"application/json"}
		h["Content-Length"] = []string{strconv.Itoa(len(wholeAnswer))}
		if _, err := io.WriteString(w, wholeAnswer); err != nil {
			return
		}
	}
	if gateway {
		u.completed.Add(1)
		u.tokens.Add(tokens)
	}
}

const (
	chunkHead = `data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench","service_tier":"default","system_fingerprint":"fp_bench","choices":[{"index":0,"delta":{`
	chunkTail = `},"logprobs":null,"finish_reason":null}],"usage":null}` + "\n\n"
	// stamp goes before the moment, in nanoseconds, at which a chunk was sent.
	stamp     = `"content":" word `
	streamEnd = `data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench","service_tier":"default","system_fingerprint":"fp_bench","choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}` + "\n\n"
)

// stream sends the chunks, the first at once. It says whether all went out.
func stream(ctx context.Context, w http.ResponseWriter, chunks int64, interval time.Duration) bool {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	rc := http.NewResponseController(w)
	buf := append(make([]byte, 0, 512), chunkHead+`"role":"assistant","content":"","refusal":null`+chunkTail...)
	tick := time.NewTicker(max(interval, time.Microsecond))
	defer tick.Stop()
	for i := range chunks {
		if i > 0 {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return false
			}
		}
		buf = append(buf, chunkHead+stamp...)
		buf = strconv.AppendInt(buf, time.Now().UnixNano(), 10)
		buf = append(buf, `"`+chunkTail...)
		if _, err := w.Write(buf); err != nil || rc.Flush() != nil {
			return false
		}
		buf = buf[:0]
	}
	usage := fmt.Sprintf(`data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench","service_tier":"default","system_fingerprint":"fp_bench","choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0}}}`+"\n\ndata: [DONE]\n\n",
		promptTokens, chunks, promptTokens+chunks)
	_, err := io.WriteString(w, streamEnd+usage)
	return err == nil && rc.Flush() == nil
}
