package coai_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

// graphQLOnly are the fields that no endpoint of REST calls, and why. A new
// field gets an endpoint or a line.
func graphQLOnly() map[string]string {
	return map[string]string{
		"Query.node":                      "Relay's; each type has an endpoint of its own",
		"Query.nodes":                     "Relay's; each type has an endpoint of its own",
		"Mutation.editMessage":            "POST /v1/conversations/{id}/messages with parent_id",
		"Mutation.sendMessage":            "POST /v1/conversations/{id}/messages with generate",
		"Mutation.regenerateMessage":      "POST /v1/conversations/{id}/messages with generate and parent_id",
		"Subscription.chatCompletion":     "POST /v1/chat/completions with stream: true, by the same resolver's stream",
		"Subscription.message":            "POST /v1/messages with stream: true, as above",
		"Subscription.response":           "POST /v1/responses with stream: true, as above",
		"Subscription.testChannel":        "POST /v1/channels/{id}/test with stream: true, as above",
		"Subscription.sendMessage":        "POST /v1/conversations/{id}/messages with generate and stream, as above",
		"Subscription.conversationEvents": "a live view, GraphQL's alone",
		"Subscription.webhookDeliveries":  "a live view, GraphQL's alone",
	}
}

// TestFacesOfferTheSame: what GraphQL can do, REST can, or it is said why not.
func TestFacesOfferTheSame(t *testing.T) {
	t.Parallel()
	src, err := os.ReadFile("schema.graphql")
	if err != nil {
		t.Fatal(err)
	}
	schema, err := parser.ParseSchema(&ast.Source{Name: "schema.graphql", Input: string(src)})
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("rest/routes*.go")
	if err != nil {
		t.Fatal(err)
	}
	reached := map[string]bool{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`"((?:Query|Mutation|Subscription)\.\w+)"`).FindAllStringSubmatch(string(text), -1) {
			reached[m[1]] = true
		}
	}
	alone, seen := graphQLOnly(), map[string]bool{}
	for _, typ := range []string{"Query", "Mutation", "Subscription"} {
		for _, f := range schema.Definitions.ForName(typ).Fields {
			name := typ + "." + f.Name
			seen[name] = true
			switch reason := alone[name]; {
			case !reached[name] && reason == "":
				t.Errorf("no endpoint calls %s: add a row to rest/routes.go, or say in graphQLOnly why not", name)
			case reached[name] && reason != "":
				t.Errorf("%s has an endpoint by now: take its line out of graphQLOnly", name)
			}
		}
	}
	for name := range alone {
		if !seen[name] {
			t.Errorf("graphQLOnly names %s, which the schema does not have", name)
		}
	}
}
