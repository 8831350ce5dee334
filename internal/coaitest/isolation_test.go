package coaitest_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/models"
)

// The meta-test of isolation: everything that takes an id is asked for another
// tenant's. A new kind of object gets a maker; its endpoints are then found by
// the beginning of their path. A new field of GraphQL gets a row.

// maker makes an object of the owner, or of the admin for what is an admin's,
// and gives its id.
type maker func(t *testing.T, p *coaitest.Product, owner string) string

func created(method, path string, body any) maker {
	return func(t *testing.T, p *coaitest.Product, owner string) string {
		t.Helper()
		res := p.Do(method, path, owner, body)
		var made struct{ ID string }
		if res.JSON(t, &made); res.Status != http.StatusOK || made.ID == "" {
			t.Fatalf("%s %s: %d %s", method, path, res.Status, res.Body)
		}
		return made.ID
	}
}

func ofAdmin(make maker) maker {
	return func(t *testing.T, p *coaitest.Product, _ string) string {
		t.Helper()
		return make(t, p, coaitest.AdminKey)
	}
}

// kinds are the objects that have ids, by name.
func kinds() map[string]maker {
	return map[string]maker{
		"api key":  created("POST", "/v1/api-keys", object{"name": "theirs"}),
		"response": created("POST", "/v1/responses", object{"model": "echo", "input": "their secret"}),
		"payment": func(t *testing.T, p *coaitest.Product, owner string) string {
			t.Helper()
			user := created("GET", "/v1/users/me", nil)(t, p, owner)
			return created("POST", "/v1/payments", object{"user_id": user, "amount": 1})(t, p, coaitest.AdminKey)
		},
		"redeem code": func(t *testing.T, p *coaitest.Product, _ string) string {
			t.Helper()
			var made struct{ Data []struct{ ID string } }
			p.Do("POST", "/v1/redeem-codes", coaitest.AdminKey, object{"credit": 1}).JSON(t, &made)
			return made.Data[0].ID
		},
		"channel": ofAdmin(created("POST", "/v1/channels", object{"name": "c", "type": "echo", "models": []string{"m"}})),
		"user":    created("GET", "/v1/users/me", nil),
		"model": func(t *testing.T, p *coaitest.Product, _ string) string {
			t.Helper()
			var made struct {
				SaveModel struct{ Model struct{ ID string } }
			}
			if errs := p.GraphQL(coaitest.AdminKey, `mutation { saveModel(input: {name: "theirs"}) { model { id } } }`, nil, &made); len(errs) > 0 {
				t.Fatal(errs)
			}
			return made.SaveModel.Model.ID
		},
	}
}

// kindsOfPaths say which kind an endpoint's id is of, by the beginning of its
// path; empty: it is no tenant's object.
func kindsOfPaths() map[string]string {
	return map[string]string{
		"/v1/api-keys/":     "api key",
		"/v1/responses/":    "response",
		"/v1/channels/":     "channel",
		"/v1/users/":        "user",
		"/v1/payments/":     "payment",
		"/v1/redeem-codes/": "redeem code",
		"/v1/models/":       "", // the name of a model, which is not of one tenant
	}
}

// fields are the fields of GraphQL that take an id: of which kind, and how they
// are called with $id.
func fields() map[string]struct{ kind, call string } {
	return map[string]struct{ kind, call string }{
		"Query.node":                  {"api key", `node(id: $id) { id }`},
		"Query.nodes":                 {"response", `nodes(ids: [$id]) { id }`},
		"Query.apiKey":                {"api key", `apiKey(id: $id) { id }`},
		"Query.response":              {"response", `response(id: $id) { id }`},
		"Query.responseInputItems":    {"response", `responseInputItems(id: $id) { totalCount }`},
		"Query.channel":               {"channel", `channel(id: $id) { id }`},
		"Query.explainRoute":          {"api key", `explainRoute(model: "echo", apiKeyId: $id) { model }`},
		"Query.user":                  {"user", `user(id: $id) { id }`},
		"Query.usageAudit":            {"channel", `usageAudit(start: "2026-01-01T00:00:00Z", end: "2026-01-02T00:00:00Z", channelId: $id) { day }`},
		"Query.usage":                 {"user", `usage(userId: [$id]) { limit }`},
		"Mutation.deleteResponse":     {"response", `deleteResponse(id: $id) { userErrors { code } }`},
		"Mutation.cancelResponse":     {"response", `cancelResponse(id: $id) { userErrors { code } }`},
		"Mutation.updateApiKey":       {"api key", `updateApiKey(id: $id, input: {name: "mine"}) { userErrors { code } }`},
		"Mutation.rotateApiKey":       {"api key", `rotateApiKey(id: $id) { userErrors { code } }`},
		"Mutation.deleteApiKey":       {"api key", `deleteApiKey(id: $id) { userErrors { code } }`},
		"Mutation.updateChannel":      {"channel", `updateChannel(id: $id, input: {name: "mine"}) { userErrors { code } }`},
		"Mutation.deleteChannel":      {"channel", `deleteChannel(id: $id) { userErrors { code } }`},
		"Mutation.testChannel":        {"channel", `testChannel(id: $id) { userErrors { code } }`},
		"Mutation.resetChannelHealth": {"channel", `resetChannelHealth(id: $id) { userErrors { code } }`},
		"Mutation.updateUser":         {"user", `updateUser(id: $id, input: {groups: []}) { userErrors { code } }`},
		"Mutation.updateUserBudgets":  {"user", `updateUserBudgets(userId: $id, input: {monthly: "1"}) { userErrors { code } }`},
		"Mutation.adjustBalance":      {"user", `adjustBalance(userId: $id, input: {amount: "1"}) { userErrors { code } }`},
		"Query.payment":               {"payment", `payment(id: $id) { id }`},
		"Mutation.disableRedeemCode":  {"redeem code", `disableRedeemCode(id: $id) { userErrors { code } }`},
		"Mutation.deleteModel":        {"model", `deleteModel(id: $id) { userErrors { code } }`},
	}
}

// inputFields are members of inputs that take an id, with the test that asks for
// another tenant's.
func inputFields() map[string]string {
	return map[string]string{
		"CreateResponseInput.previousResponseId": "TestNoResponseFollowsAnothers",
		"PaymentFilter.userId":                   "TestPaymentsThroughStripe",
		"RecordPaymentInput.userId":              "admins alone: TestPaymentsThroughStripe",
	}
}

func tenants(t *testing.T, p *coaitest.Product) (owner, stranger string) {
	t.Helper()
	in := models.CreateAPIKeyInput{Name: "k"}
	return p.OtherUserKey("owner@example.com", in), p.OtherUserKey("stranger@example.com", in)
}

func TestNoRouteShowsAnothersObject(t *testing.T) {
	t.Parallel()
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		owner, stranger := tenants(t, p)
		for _, e := range p.Endpoints(t) {
			if !strings.Contains(e.Path, "{") || e.Public {
				continue
			}
			t.Run(e.Method+" "+e.Path, func(t *testing.T) {
				kind, known := "", false
				for prefix, k := range kindsOfPaths() {
					if strings.HasPrefix(e.Path, prefix) {
						kind, known = k, true
					}
				}
				if !known {
					t.Fatal("of which kind is the id? Add the beginning of the path to kindsOfPaths, and a maker to kinds")
				}
				if kind == "" {
					return
				}
				id := kinds()[kind](t, p, owner)
				var body any
				if e.Example != nil {
					body = string(e.Example)
				} else if e.JSON {
					body = `{}`
				}
				res := p.Do(e.Method, e.At(id), stranger, body)
				if code := res.Error(t).Code; code != "resource_not_found" && code != "insufficient_scope" || strings.Contains(string(res.Body), "secret") {
					t.Errorf("a stranger gets %d %s", res.Status, res.Body)
				}
				if e.Method == http.MethodGet {
					key := owner
					if kind == "channel" {
						key = coaitest.AdminKey
					}
					if res := p.Do(e.Method, e.At(id), key, nil); res.Status != http.StatusOK {
						t.Errorf("its owner gets %d %s", res.Status, res.Body)
					}
				}
			})
		}
	})
}

func TestNoFieldShowsAnothersObject(t *testing.T) {
	t.Parallel()
	src, err := os.ReadFile(filepath.Join("..", "..", "schema.graphql"))
	if err != nil {
		t.Fatal(err)
	}
	schema, err := parser.ParseSchema(&ast.Source{Name: "schema.graphql", Input: string(src)})
	if err != nil {
		t.Fatal(err)
	}
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		owner, stranger := tenants(t, p)
		rows, taken := fields(), map[string]bool{}
		for _, typ := range []string{"Query", "Mutation", "Subscription"} {
			for _, f := range schema.Definitions.ForName(typ).Fields {
				if !slices.ContainsFunc(f.Arguments, func(a *ast.ArgumentDefinition) bool { return a.Type.Name() == "ID" }) {
					continue
				}
				name := typ + "." + f.Name
				taken[name] = true
				t.Run(name, func(t *testing.T) {
					row, ok := rows[name]
					if !ok {
						t.Fatal("it takes an id: add a row to fields that asks for another tenant's")
					}
					id := kinds()[row.kind](t, p, owner)
					hidden(t, p, stranger, strings.ToLower(typ)+"($id: ID!) { result: "+row.call+" }", id)
				})
			}
		}
		for name := range rows {
			if !taken[name] {
				t.Errorf("fields has a row for %s, which takes no id", name)
			}
		}
	})
	known := inputFields()
	for _, def := range schema.Definitions {
		if def.Kind != ast.InputObject {
			continue
		}
		for _, f := range def.Fields {
			if _, ok := known[def.Name+"."+f.Name]; f.Type.Name() == "ID" && !ok {
				t.Errorf("%s.%s takes an id: add a line to inputFields that says where another tenant's is asked for", def.Name, f.Name)
			}
		}
	}
}

// hidden checks that the answer is the same as for what does not exist.
func hidden(t *testing.T, p *coaitest.Product, key, query, id string) {
	t.Helper()
	var data map[string]json.RawMessage
	errs := p.GraphQL(key, query, object{"id": id}, &data)
	for _, e := range errs {
		if c := e.Extensions.Code; c != "resource_not_found" && c != "insufficient_scope" {
			t.Errorf("%s: %s", c, e.Message)
		}
	}
	if len(errs) > 0 {
		return
	}
	result := string(data["result"])
	var payload struct{ UserErrors []struct{ Code string } }
	if json.Unmarshal(data["result"], &payload) == nil && len(payload.UserErrors) == 1 && payload.UserErrors[0].Code == "NOT_FOUND" {
		return
	}
	if result != "null" && result != "[null]" {
		t.Errorf("a stranger gets %s", result)
	}
}

func TestNoResponseFollowsAnothers(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{})
	owner, stranger := tenants(t, p)
	id := kinds()["response"](t, p, owner)
	res := p.Do("POST", "/v1/responses", stranger, object{"model": "echo", "input": "x", "previous_response_id": id})
	if res.Status == http.StatusOK || strings.Contains(string(res.Body), "their secret") {
		t.Errorf("%d %s", res.Status, res.Body)
	}
}
