package coaitest_test

import (
	"crypto/rand"
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
// and gives its id; what is found within another object has that one's before
// it, with a slash between.
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

func ofAdmin(of maker) maker {
	return func(t *testing.T, p *coaitest.Product, _ string) string {
		t.Helper()
		return of(t, p, coaitest.AdminKey)
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
		"file": func(t *testing.T, p *coaitest.Product, owner string) string {
			t.Helper()
			return upload(t, p, owner, "their.txt", "their secret").ID
		},
		"conversation": created("POST", "/v1/conversations", object{"title": "their secret"}),
		"message": func(t *testing.T, p *coaitest.Product, owner string) string {
			t.Helper()
			of := newConversation(t, p, owner, nil)
			return of + "/" + created("POST", "/v1/conversations/"+of+"/messages", object{"content": "their secret"})(t, p, owner)
		},
		"item": func(t *testing.T, p *coaitest.Product, owner string) string {
			t.Helper()
			of := newConversation(t, p, owner, nil)
			var made struct{ Data []struct{ ID string } }
			item := object{"type": "message", "role": "user", "content": "their secret"}
			p.Do("POST", "/v1/conversations/"+of+"/items", owner, object{"items": []any{item}}).JSON(t, &made)
			return of + "/" + made.Data[0].ID
		},
		"webhook": webhook,
		"delivery": func(t *testing.T, p *coaitest.Product, owner string) string {
			t.Helper()
			of := webhook(t, p, owner)
			return of + "/" + created("POST", "/v1/webhooks/"+of+"/test", nil)(t, p, owner)
		},
		"session": func(t *testing.T, p *coaitest.Product, _ string) string {
			t.Helper()
			return signUp(t, p.Browser(), strings.ToLower(rand.Text())+"@example.com").ID
		},
		"invitation": ofAdmin(created("POST", "/v1/invitations", nil)),
	}
}

// webhook makes an endpoint of the owner's that listens while the test runs.
func webhook(t *testing.T, p *coaitest.Product, owner string) string {
	t.Helper()
	in := object{"url": newInbox(t).URL, "events": []string{string(models.EventConversationCompleted)}}
	return created("POST", "/v1/webhooks", in)(t, p, owner)
}

// isolated are the settings that all makers need.
func isolated() []string {
	return []string{"COAI_SIGN_UP=open", "COAI_WEBHOOK_ALLOW_HTTP=true", "COAI_WEBHOOK_ALLOW_NETWORKS=127.0.0.1"}
}

// kindsOfPaths say which kind an endpoint's id is of, by the beginning of its
// path, the longest that fits; empty: it is no tenant's object.
func kindsOfPaths() map[string]string {
	return map[string]string{
		"/v1/api-keys/":     "api key",
		"/v1/responses/":    "response",
		"/v1/channels/":     "channel",
		"/v1/users/":        "user",
		"/v1/payments/":     "payment",
		"/v1/redeem-codes/": "redeem code",
		"/v1/models/":       "", // the name of a model, which is not of one tenant

		"/v1/files/":                        "file",
		"/v1/conversations/":                "conversation",
		"/v1/conversations/{id}/messages/{": "message",
		"/v1/conversations/{id}/items/{":    "item",
		"/v1/webhooks/":                     "webhook",
		"/v1/webhooks/{id}/deliveries/{":    "delivery",
		"/v1/auth/sessions/":                "session",
		"/v1/invitations/":                  "invitation",
		"/v1/jobs/":                         "", // the name of a job of the product
		"/v1/plans/":                        "", // a tier
		"/v1/shared/":                       "", // a token, which is for everybody who knows it
	}
}

// fields are the fields of GraphQL that take an id: of which kind, and how they
// are called with $id, and $of for what is found within another object.
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

		"Query.file":                 {"file", `file(id: $id) { id }`},
		"Query.fileContent":          {"file", `fileContent(id: $id) { data }`},
		"Mutation.deleteFile":        {"file", `deleteFile(id: $id) { userErrors { code } }`},
		"Query.channelModels":        {"channel", `channelModels(id: $id) { channelId }`},
		"Mutation.cloneChannel":      {"channel", `cloneChannel(id: $id) { userErrors { code } }`},
		"Mutation.syncChannelModels": {"channel", `syncChannelModels(id: $id) { userErrors { code } }`},
		"Subscription.testChannel":   {"channel", `testChannel(id: $id) { success }`},
		"Mutation.deleteSession":     {"session", `deleteSession(id: $id) { userErrors { code } }`},
		"Mutation.deleteInvitation":  {"invitation", `deleteInvitation(id: $id) { userErrors { code } }`},
		"Mutation.deleteUser":        {"user", `deleteUser(id: $id) { userErrors { code } }`},
		"Mutation.updateModel":       {"model", `updateModel(id: $id, input: {ownedBy: "me"}) { userErrors { code } }`},

		"Query.conversation":               {"conversation", `conversation(id: $id) { id }`},
		"Query.conversationMessages":       {"message", `conversationMessages(conversationId: $of, leafId: $id) { totalCount }`},
		"Query.conversationMessage":        {"message", `conversationMessage(id: $id) { id }`},
		"Query.conversationItems":          {"conversation", `conversationItems(conversationId: $id) { pageInfo { hasNextPage } }`},
		"Query.conversationItem":           {"item", `conversationItem(conversationId: $of, id: $id) { id }`},
		"Query.conversationExport":         {"conversation", `conversationExport(id: $id, format: JSON)`},
		"Mutation.updateConversation":      {"conversation", `updateConversation(id: $id, input: {title: "mine"}) { userErrors { code } }`},
		"Mutation.deleteConversation":      {"conversation", `deleteConversation(id: $id) { userErrors { code } }`},
		"Mutation.shareConversation":       {"conversation", `shareConversation(id: $id) { userErrors { code } }`},
		"Mutation.unshareConversation":     {"conversation", `unshareConversation(id: $id) { userErrors { code } }`},
		"Mutation.deleteMessage":           {"message", `deleteMessage(id: $id) { userErrors { code } }`},
		"Mutation.createConversationItems": {"conversation", `createConversationItems(conversationId: $id, items: [{type: "message", role: "user", content: "x"}]) { userErrors { code } }`},
		"Mutation.deleteConversationItem":  {"item", `deleteConversationItem(conversationId: $of, id: $id) { userErrors { code } }`},
		"Subscription.conversationEvents":  {"conversation", `conversationEvents(id: $id) { conversationId }`},

		"Query.webhook":                  {"webhook", `webhook(id: $id) { id }`},
		"Query.webhookSecret":            {"webhook", `webhookSecret(id: $id) { secret }`},
		"Query.webhookDeliveries":        {"webhook", `webhookDeliveries(endpointId: $id) { totalCount }`},
		"Query.webhookDelivery":          {"delivery", `webhookDelivery(endpointId: $of, id: $id) { id }`},
		"Mutation.updateWebhook":         {"webhook", `updateWebhook(id: $id, input: {description: "mine"}) { userErrors { code } }`},
		"Mutation.deleteWebhook":         {"webhook", `deleteWebhook(id: $id) { userErrors { code } }`},
		"Mutation.rotateWebhookSecret":   {"webhook", `rotateWebhookSecret(id: $id) { userErrors { code } }`},
		"Mutation.testWebhook":           {"webhook", `testWebhook(id: $id) { userErrors { code } }`},
		"Mutation.redeliverWebhook":      {"delivery", `redeliverWebhook(endpointId: $of, id: $id) { userErrors { code } }`},
		"Mutation.redeliverWebhooks":     {"webhook", `redeliverWebhooks(endpointId: $id, input: {since: "2026-01-01T00:00:00Z"}) { userErrors { code } }`},
		"Subscription.webhookDeliveries": {"webhook", `webhookDeliveries(endpointId: $id) { sequence }`},
	}
}

// inputFields are members of inputs that take an id, with the test that asks for
// another tenant's.
func inputFields() map[string]string {
	return map[string]string{
		"CreateResponseInput.previousResponseId": "TestNoResponseFollowsAnothers",
		"AuditFilter.actorId":                    "admins alone: TestAuditLogOverBothFaces",
		"AuditFilter.targetId":                   "admins alone: TestAuditLogOverBothFaces",
		"BulkChannelsInput.ids":                  "admins alone: TestNoInputTakesAnothersObject",
		"ChannelPriorityInput.id":                "admins alone: TestNoInputTakesAnothersObject",
		"ChatCompletionInput.conversationId":     "TestNoInputTakesAnothersObject",
		"ChatCompletionInput.parentMessageId":    "TestNoInputTakesAnothersObject",
		"UpdateConversationInput.leafId":         "TestNoInputTakesAnothersObject",
		"AddMessageInput.conversationId":         "TestNoInputTakesAnothersObject",
		"AddMessageInput.parentId":               "TestNoInputTakesAnothersObject",
		"EditMessageInput.messageId":             "TestNoInputTakesAnothersObject",
		"SendMessageInput.conversationId":        "TestNoInputTakesAnothersObject",
		"SendMessageInput.parentId":              "TestNoInputTakesAnothersObject",
		"RegenerateMessageInput.messageId":       "TestNoInputTakesAnothersObject",
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
		p := coaitest.Start(t, b, isolated()...)
		owner, stranger := tenants(t, p)
		for _, e := range p.Endpoints(t) {
			if !strings.Contains(e.Path, "{") || e.Public {
				continue
			}
			t.Run(e.Method+" "+e.Path, func(t *testing.T) {
				kind, known, longest := "", false, ""
				for prefix, k := range kindsOfPaths() {
					if strings.HasPrefix(e.Path, prefix) && len(prefix) > len(longest) {
						kind, known, longest = k, true, prefix
					}
				}
				if !known {
					t.Fatal("of which kind is the id? Add the beginning of the path to kindsOfPaths, and a maker to kinds")
				}
				if kind == "" {
					return
				}
				ids := asked(t, p, kinds()[kind], owner, stranger)
				var body any
				if e.Example != nil {
					body = string(e.Example)
				} else if e.JSON {
					body = `{}`
				}
				for _, id := range ids {
					res := p.Do(e.Method, e.At(strings.Split(id, "/")...), stranger, body)
					if code := res.Error(t).Code; code != "resource_not_found" && code != "insufficient_scope" || strings.Contains(string(res.Body), "secret") {
						t.Errorf("a stranger gets %d %s", res.Status, res.Body)
					}
				}
				if e.Method == http.MethodGet {
					key := owner
					if kind == "channel" {
						key = coaitest.AdminKey
					}
					want := http.StatusOK
					if e.Field == "Query.channelModels" {
						want = http.StatusConflict // the upstream of the maker's type lists no models
					}
					if res := p.Do(e.Method, e.At(strings.Split(ids[0], "/")...), key, nil); res.Status != want {
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
		p := coaitest.Start(t, b, isolated()...)
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
					for _, id := range asked(t, p, kinds()[row.kind], owner, stranger) {
						hidden(t, p, stranger, strings.ToLower(typ), row.call, id)
					}
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
