package graph

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// node runs a script in testdata/audit and decodes what it prints. Without its
// packages the test is skipped: install them with `npm ci` in that folder.
func node(t *testing.T, to any, script string, args ...string) {
	t.Helper()
	dir := filepath.Join("testdata", "audit")
	if _, err := os.Stat(filepath.Join(dir, "node_modules")); err != nil {
		t.Skip("run `npm ci` in graph/testdata/audit to run this test")
	}
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is not installed")
	}
	cmd := exec.CommandContext(t.Context(), "node", append([]string{script}, args...)...) //nolint:gosec // our own scripts
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		var text []byte
		if e, ok := err.(*exec.ExitError); ok { //nolint:errorlint // what Output returns is not wrapped
			text = e.Stderr
		}
		t.Fatalf("%v\n%s", err, text)
	}
	if err := json.Unmarshal(out, to); err != nil {
		t.Fatalf("decode %q: %v", out, err)
	}
}

// The audits of https://github.com/graphql/graphql-http, those of what a server
// MAY do included.
func TestConformsToGraphQLOverHTTP(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}))
	var results []struct{ ID, Name, Status, Reason string }
	node(t, &results, "audit.mjs", srv.URL+"/graphql", adminKey)
	for _, r := range results {
		if r.Status != "ok" {
			t.Errorf("%s %s: %s: %s", r.ID, r.Name, r.Status, r.Reason)
		}
	}
	if len(results) < 61 {
		t.Errorf("%d audits ran, of 61", len(results))
	}
}

func TestReferenceClients(t *testing.T) {
	w := newWorld(t)
	srv := w.serve(w.handler(HandlerConfig{}))
	type seen struct {
		Text   string
		Tokens int
		Errors []string
	}
	type client struct {
		Stream, Invalid, Again seen
		Left                   string
	}
	var got struct {
		Events, Socket client
		Stranger       seen
	}
	node(t, &got, "clients.mjs", srv.URL+"/graphql", adminKey)
	for name, c := range map[string]client{"graphql-sse": got.Events, "graphql-ws": got.Socket} {
		if c.Stream.Text != "hello there" || c.Stream.Tokens == 0 || len(c.Stream.Errors) > 0 || c.Again.Text != "hello there" {
			t.Errorf("%s saw %+v", name, c)
		}
		if len(c.Invalid.Errors) != 1 || c.Invalid.Errors[0] != "GRAPHQL_VALIDATION_FAILED" || c.Left != "left" {
			t.Errorf("%s saw %+v", name, c)
		}
	}
	if len(got.Stranger.Errors) != 1 || got.Stranger.Errors[0] != "invalid_api_key" {
		t.Errorf("a stranger saw %+v", got.Stranger)
	}
}
