package coaitest

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/coaidev/coai/models"
)

// Ollama is the language of Ollama's /api/chat.
// https://github.com/ollama/ollama/blob/main/docs/api.md
func Ollama() Dialect {
	return Dialect{Name: "ollama", Type: models.ChannelOllama, Say: sayOllama, Refuse: RefuseOllama, Lacks: map[string]string{
		"content filter":   "Ollama filters nothing",
		"cached prompt":    "Ollama does not tell what was cached",
		"cache write":      "as above",
		"reasoning tokens": "Ollama counts thinking with the rest",
	}}
}

func sayOllama(w http.ResponseWriter, c *Call, a Answer) {
	if c.Path != "/api/chat" || c.Header.Get("Authorization") != "Bearer "+UpstreamKey {
		RefuseOllama(w, c, RefuseCredential)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	line := func(message, more string) {
		_, _ = fmt.Fprintf(w, `{"model":"gpt-test","created_at":"2026-11-24T00:00:00Z","message":{"role":"assistant",%s},%s}`+"\n", message, more)
		w.(http.Flusher).Flush()
	}
	for _, s := range a.Thinking {
		line(`"content":"","thinking":`+Quote(s), `"done":false`)
	}
	for _, s := range a.Text {
		line(`"content":`+Quote(s), `"done":false`)
	}
	switch {
	case a.Cut:
		CutOff()
	case a.Fail:
		_, _ = io.WriteString(w, `{"error":"an error was encountered while running the model: `+UpstreamKey+`"}`+"\n")
		return
	}
	for _, call := range a.Calls { // each whole, and without an id
		line(`"content":"","tool_calls":[{"function":{"name":`+Quote(call.Name)+`,"arguments":`+strings.Join(call.Arguments, "")+`}}]`, `"done":false`)
	}
	reason := "stop"
	if a.Finished() == models.FinishLength {
		reason = "length"
	}
	counts := ""
	if !a.NoUsage {
		counts = fmt.Sprintf(`,"prompt_eval_count":%d,"eval_count":%d`, a.Usage.Prompt, a.Usage.Completion)
	}
	line(`"content":""`, `"done_reason":"`+reason+`","done":true,"total_duration":883583458`+counts)
}

// RefuseOllama refuses in Ollama's form.
func RefuseOllama(w http.ResponseWriter, c *Call, r Refusal) {
	refuse := func(status int, message string, headers ...string) {
		Status(status, "application/json", `{"error":`+Quote(message+" "+UpstreamKey)+`}`, headers...)(w, c)
	}
	switch r {
	case RefuseBadRequest:
		refuse(http.StatusBadRequest, "invalid options")
	case RefuseContext:
		refuse(http.StatusBadRequest, "the input length exceeds the context length")
	case RefuseCredential:
		refuse(http.StatusUnauthorized, "unauthorized")
	case RefuseModel:
		refuse(http.StatusNotFound, `model "gpt-test" not found, try pulling it first`)
	case RefuseRate:
		refuse(http.StatusTooManyRequests, "too many requests", "Retry-After", "7")
	case RefuseOverloaded:
		refuse(http.StatusServiceUnavailable, "server busy, please try again.  maximum pending requests exceeded")
	case RefuseUnavailable, RefuseFilter:
		refuse(http.StatusInternalServerError, "llama runner process has terminated: exit status 2")
	case RefuseHTML:
		RefuseWithHTML(w, c)
	}
}
