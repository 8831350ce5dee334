package coaitest_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/coaitest"
)

// asked are the ids that a stranger asks for: another's object, and, if that is
// found within one, the same as if it were within the stranger's.
func asked(t *testing.T, p *coaitest.Product, of maker, owner, stranger string) []string {
	t.Helper()
	id := of(t, p, owner)
	_, child, within := strings.Cut(id, "/")
	if !within {
		return []string{id}
	}
	mine, _, _ := strings.Cut(of(t, p, stranger), "/")
	return []string{id, mine + "/" + child}
}

// hidden checks that the answer is the same as for what does not exist.
func hidden(t *testing.T, p *coaitest.Product, key, operation, call, id string) {
	t.Helper()
	of, id, within := strings.Cut(id, "/")
	if !within {
		id = of
	}
	variables, declared := object{"id": id, "of": of}, ""
	for name := range variables {
		if strings.Contains(call, "$"+name) {
			declared += " $" + name + ": ID!"
		}
	}
	query := operation + "(" + declared + ") { result: " + call + " }"
	var data map[string]json.RawMessage
	var errs []coaitest.GraphQLError
	if operation == "subscription" {
		errs = firstErrors(t, p, key, query, variables)
	} else {
		errs = p.GraphQL(key, query, variables, &data)
	}
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

// firstErrors are the errors of a subscription's first event, which has no data.
func firstErrors(t *testing.T, p *coaitest.Product, key, query string, variables object) []coaitest.GraphQLError {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	events := coaitest.NewEventStream(t, p.Open(ctx, "POST", "/graphql", key, object{"query": query, "variables": variables}, "Accept", "text/event-stream"))
	event, _ := events.Next()
	var first struct {
		Data   json.RawMessage
		Errors []coaitest.GraphQLError
	}
	if err := json.Unmarshal([]byte(event), &first); err != nil {
		t.Fatalf("the first event is %q: %v", event, err)
	}
	if data := string(first.Data); len(first.Errors) == 0 || data != "" && data != "null" {
		t.Errorf("a stranger gets %s", event)
	}
	return first.Errors
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

// Members of inputs take no other tenant's ids: $of is another's conversation,
// $id a message in it; $own is the stranger's conversation.
func TestNoInputTakesAnothersObject(t *testing.T) {
	t.Parallel()
	calls := map[string]string{
		"ChatCompletionInput.conversationId":  `createChatCompletion(input: {model: "echo", messages: [{role: USER, content: {text: "x"}}], conversationId: $of}) { userErrors { code } }`,
		"ChatCompletionInput.parentMessageId": `createChatCompletion(input: {model: "echo", messages: [{role: USER, content: {text: "x"}}], conversationId: $own, parentMessageId: $id}) { userErrors { code } }`,
		"UpdateConversationInput.leafId":      `updateConversation(id: $own, input: {leafId: $id}) { userErrors { code } }`,
		"AddMessageInput.conversationId":      `addMessage(input: {conversationId: $of, message: {role: USER, content: {text: "x"}}}) { userErrors { code } }`,
		"AddMessageInput.parentId":            `addMessage(input: {conversationId: $own, parentId: $id, message: {role: USER, content: {text: "x"}}}) { userErrors { code } }`,
		"EditMessageInput.messageId":          `editMessage(input: {messageId: $id, content: {text: "x"}}) { userErrors { code } }`,
		"SendMessageInput.conversationId":     `sendMessage(input: {conversationId: $of, model: "echo", content: {text: "x"}}) { userErrors { code } }`,
		"SendMessageInput.parentId":           `sendMessage(input: {conversationId: $own, parentId: $id, model: "echo", content: {text: "x"}}) { userErrors { code } }`,
		"RegenerateMessageInput.messageId":    `regenerateMessage(input: {messageId: $id, model: "echo"}) { userErrors { code } }`,
		"BulkChannelsInput.ids":               `bulkChannels(input: {action: DISABLE, ids: [$id]}) { userErrors { code } }`,
		"ChannelPriorityInput.id":             `reorderChannels(input: {channels: [{id: $id, priority: 1}]}) { userErrors { code } }`,
	}
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		p := coaitest.Start(t, b)
		owner, stranger := tenants(t, p)
		own := newConversation(t, p, stranger, nil)
		theirs := kinds()["message"](t, p, owner)
		of, _, _ := strings.Cut(theirs, "/")
		_, before := transcript(t, p, owner, of)
		channel := kinds()["channel"](t, p, owner)
		for name, call := range calls {
			t.Run(name, func(t *testing.T) {
				id := theirs
				if strings.Contains(name, "Channel") {
					id = channel
				}
				hidden(t, p, stranger, "mutation", strings.ReplaceAll(call, "$own", `"`+own+`"`), id)
			})
		}
		if _, after := transcript(t, p, owner, of); after != before || after == "" {
			t.Errorf("the owner had %q, and has %q", before, after)
		}
		if _, mine := transcript(t, p, stranger, own); mine != "" {
			t.Errorf("the stranger's conversation has %q", mine)
		}
	})
}
