package coaitest_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/models"
)

// visible are the models that a key sees, on both faces.
func visible(t *testing.T, p *coaitest.Product, key string) string {
	t.Helper()
	var list struct{ Data []struct{ ID string } }
	p.Do("GET", "/v1/models", key, nil).JSON(t, &list)
	var q struct {
		Models struct{ Nodes []struct{ Name string } }
	}
	if errs := p.GraphQL(key, `{ models(first: 100) { nodes { name } } }`, nil, &q); len(errs) > 0 {
		t.Fatal(errs)
	}
	var names, graph []string
	for _, m := range list.Data {
		names = append(names, m.ID)
	}
	for _, m := range q.Models.Nodes {
		graph = append(graph, m.Name)
	}
	if !slices.Equal(names, graph) {
		t.Errorf("REST lists %v, GraphQL %v", names, graph)
	}
	return strings.Join(names, " ")
}

// asks sends a request for the model to every endpoint that takes one, and gives the
// status and code of each, all the same, or what differs.
func asks(t *testing.T, p *coaitest.Product, key, model string) string {
	t.Helper()
	said := map[string]string{}
	for path, body := range map[string]object{
		"/v1/chat/completions":        ask(model, nil),
		"/v1/chat/completions?stream": ask(model, object{"stream": true}),
		"/v1/messages":                ask(model, object{"max_tokens": 5}),
		"/v1/messages/count_tokens":   ask(model, nil),
		"/v1/responses":               {"model": model, "input": "Hello"},
		"/v1/embeddings":              {"model": model, "input": "Hello"},
		"/v1/completions":             {"model": model, "prompt": "Hello"},
	} {
		res := p.Do("POST", path, key, body)
		answer := fmt.Sprint(res.Status)
		switch {
		case res.Status == http.StatusOK:
		case strings.HasPrefix(path, "/v1/messages"): // in Anthropic's language, which has no codes
		default:
			answer += " " + res.Error(t).Code
		}
		said[path] = answer
	}
	var q struct{ CreateChatCompletion *object }
	errs := p.GraphQL(key, `mutation($m: String!) { createChatCompletion(input: {model: $m, messages: [{role: USER, content: {text: "Hello"}}]}) { chatCompletion { id } userErrors { code } } }`, object{"m": model}, &q)
	switch {
	case len(errs) > 0:
		said["graphql"] = errs[0].Extensions.Code
	default:
		said["graphql"] = fmt.Sprint(q.CreateChatCompletion != nil)
	}
	first := said["/v1/chat/completions"]
	for path, answer := range said {
		if path != "graphql" && answer != first && !strings.HasPrefix(first, answer) {
			return fmt.Sprint(said)
		}
	}
	return first
}

func echoModels(t *testing.T, p *coaitest.Product, names ...string) {
	t.Helper()
	res := p.Do("POST", "/v1/channels", coaitest.AdminKey, object{"name": "more", "type": "echo", "models": names})
	if res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
}

func TestModelsAreHiddenFromTiersAndGroups(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		t.Parallel()
		p := coaitest.Start(t, b)
		echoModels(t, p, "gold", "legal", "open")
		for name, in := range map[string]object{
			"gold": {"tiers": []string{"free", "pro"}, "aliases": []string{"au"}}, "legal": {"groups": []string{"legal"}}, "open": {},
		} {
			in["name"] = name
			if res := p.Do("POST", "/v1/models", coaitest.AdminKey, in); res.Status != http.StatusOK {
				t.Fatalf("%d %s", res.Status, res.Body)
			}
		}
		key := p.OtherUserKey("user@example.com", keyInput("user")) // of the tier enterprise
		if got := visible(t, p, key); got != "echo open" {
			t.Errorf("the user sees %s", got)
		}
		if got := visible(t, p, coaitest.AdminKey); got != "echo gold legal open" {
			t.Errorf("the admin sees %s", got)
		}
		for _, hidden := range []string{"gold", "au", "legal"} {
			if got := asks(t, p, key, hidden); got != "404 model_not_found" {
				t.Errorf("%s: %s", hidden, got)
			}
			if res := p.Do("GET", "/v1/models/"+hidden, key, nil); res.Status != 404 {
				t.Errorf("GET %s: %d", hidden, res.Status)
			}
		}
		if got := asks(t, p, key, "open"); !strings.HasPrefix(got, "200") {
			t.Errorf("open: %s", got)
		}
		var keys struct{ Data []struct{ ID string } }
		p.Do("GET", "/v1/api-keys", key, nil).JSON(t, &keys)
		var why struct {
			Candidates []object
			Excluded   []struct{ Reason string }
		}
		p.Do("GET", "/v1/channels/explain?model=gold&api_key_id="+keys.Data[0].ID, coaitest.AdminKey, nil).JSON(t, &why)
		if len(why.Candidates) != 0 || len(why.Excluded) != 1 || why.Excluded[0].Reason != "model_hidden" {
			t.Errorf("%+v", why)
		}
		var me struct{ ID string }
		p.Do("GET", "/v1/users/me", key, nil).JSON(t, &me)
		p.Do("PATCH", "/v1/users/"+me.ID, coaitest.AdminKey, object{"groups": []string{"legal"}})
		if res := p.Do("PATCH", "/v1/models/gold", coaitest.AdminKey, object{"tiers": nil}); res.Status != http.StatusOK {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		if got := visible(t, p, key); got != "echo gold legal open" {
			t.Errorf("the user sees %s", got)
		}
	})
}

// A key's list of models counts on every way, by whichever of a model's names.
func TestAllowedModelsCountEverywhere(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{})
	echoModels(t, p, "one", "two")
	if res := p.Do("PUT", "/v1/models/two", coaitest.AdminKey, object{"aliases": []string{"deux"}}); res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	for _, c := range []struct{ allowed, sees string }{{"two", "two"}, {"deux", "two"}} {
		key := p.OtherUserKey(c.allowed+"@example.com", models.CreateAPIKeyInput{Name: "x", AllowedModels: []string{c.allowed}})
		if got := visible(t, p, key); got != c.sees {
			t.Errorf("allowed %s: sees %s", c.allowed, got)
		}
		for _, name := range []string{"two", "deux"} {
			if got := asks(t, p, key, name); !strings.HasPrefix(got, "200") {
				t.Errorf("allowed %s, asked for %s: %s", c.allowed, name, got)
			}
		}
		if got := asks(t, p, key, "one"); got != "403 model_not_allowed" {
			t.Errorf("allowed %s, asked for one: %s", c.allowed, got)
		}
		if res := p.Do("GET", "/v1/models/one", key, nil); res.Status != 404 {
			t.Errorf("allowed %s: GET one: %d", c.allowed, res.Status)
		}
		var keys struct{ Data []struct{ ID string } }
		p.Do("GET", "/v1/api-keys", key, nil).JSON(t, &keys)
		why := string(p.Do("GET", "/v1/channels/explain?model=one&api_key_id="+keys.Data[0].ID, coaitest.AdminKey, nil).Body)
		if !strings.Contains(why, "key_model_not_allowed") || !strings.Contains(why, `"candidates":[]`) {
			t.Errorf("%s", why)
		}
	}
}

func TestCatalogueOverREST(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		t.Parallel()
		p := coaitest.Start(t, b)
		echoModels(t, p, "org/big")
		type model struct {
			ID, Object, Name string
			DisplayName      string `json:"display_name"`
			OwnedBy          string `json:"owned_by"`
			ContextWindow    *int   `json:"context_window"`
			MaxOutput        *int   `json:"max_output_tokens"`
			Capabilities     []string
			Pricing          *struct{ Prompt struct{ Value float64 } }
			Created          int64
		}
		var m model
		p.Do("POST", "/v1/models", coaitest.AdminKey, object{
			"name": "org/big", "display_name": "Big", "owned_by": "org", "context_window": 1000, "max_output_tokens": 100,
			"capabilities": []string{"vision"}, "pricing": object{"prompt": 2, "completion": 3},
		}).JSON(t, &m)
		if m.ID != "org/big" || m.Object != "model" || m.DisplayName != "Big" || m.OwnedBy != "org" || *m.ContextWindow != 1000 || *m.MaxOutput != 100 || m.Pricing.Prompt.Value != 2 || m.Created == 0 {
			t.Errorf("%+v", m)
		}
		if res := p.Do("POST", "/v1/models", coaitest.AdminKey, object{"name": "org/big"}); res.Status != 409 || *res.Error(t).Param != "name" {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		m = model{}
		p.Do("PATCH", "/v1/models/org/big", coaitest.AdminKey, object{"display_name": "Bigger", "context_window": nil}).JSON(t, &m)
		if m.DisplayName != "Bigger" || m.ContextWindow != nil || *m.MaxOutput != 100 || m.Pricing == nil || len(m.Capabilities) != 1 {
			t.Errorf("%+v", m)
		}
		m = model{}
		if p.Do("PATCH", "/v1/models/org/big", coaitest.AdminKey, object{"pricing": nil}).JSON(t, &m); m.Pricing != nil {
			t.Errorf("%+v", m)
		}
		for path, param := range map[string]string{"/v1/models/none": "id"} {
			if res := p.Do("PATCH", path, coaitest.AdminKey, object{"display_name": "x"}); res.Status != 404 || *res.Error(t).Param != param {
				t.Errorf("%d %s", res.Status, res.Body)
			}
		}
		if res := p.Do("PATCH", "/v1/models/org/big", coaitest.AdminKey, object{"tiers": []string{"gold"}}); res.Status != 400 || *res.Error(t).Param != "tiers[0]" {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		if res := p.Do("PUT", "/v1/models/org/big", coaitest.AdminKey, object{"name": "other"}); res.Status != 400 || *res.Error(t).Param != "name" {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		for _, method := range []string{"PATCH", "PUT", "DELETE"} {
			if res := p.Do(method, "/v1/models/org/big", p.UserKey(nil), object{}); res.Status != 403 {
				t.Errorf("%s by a user: %d", method, res.Status)
			}
			if res := p.Do(method, "/v1/models", coaitest.AdminKey, object{}); res.Status != 405 {
				t.Errorf("%s without a name: %d", method, res.Status)
			}
		}
		var gone struct{ Deleted bool }
		if p.Do("DELETE", "/v1/models/org/big", coaitest.AdminKey, nil).JSON(t, &gone); !gone.Deleted {
			t.Error("it is not deleted")
		}
		// The channel serves it still, undescribed.
		m = model{}
		if p.Do("GET", "/v1/models/org/big", coaitest.AdminKey, nil).JSON(t, &m); m.DisplayName != "org/big" || m.OwnedBy != "echo" {
			t.Errorf("%+v", m)
		}
	})
}
