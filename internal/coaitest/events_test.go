package coaitest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/pb33f/jsonschema/v6"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/models"
)

// TestEventsAreAsPublished: what happens is written down in the shape that
// /v1/webhooks/events publishes, and without a secret.
func TestEventsAreAsPublished(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{})
	var catalogue struct {
		Data []struct {
			Type   string
			Schema json.RawMessage
		}
	}
	p.Do("GET", "/v1/webhooks/events", coaitest.AdminKey, nil).JSON(t, &catalogue)
	schemas := make(map[models.EventType]*jsonschema.Schema)
	for _, e := range catalogue.Data {
		schema, err := jsonschema.UnmarshalJSON(strings.NewReader(string(e.Schema)))
		if err != nil {
			t.Fatal(err)
		}
		c := jsonschema.NewCompiler()
		if err := c.AddResource("event.json", schema); err != nil {
			t.Fatal(err)
		}
		if schemas[models.EventType(e.Type)], err = c.Compile("event.json"); err != nil {
			t.Fatal(err)
		}
	}

	var user, conversation struct{ ID string }
	p.Do("POST", "/v1/users", coaitest.AdminKey, object{"email": "new@example.com", "password": "correct horse battery"}).JSON(t, &user)
	p.Do("POST", "/v1/payments", coaitest.AdminKey, object{"user_id": user.ID, "amount": 5, "note": "invoice 1"})
	p.Do("POST", "/v1/conversations", coaitest.AdminKey, object{"model": "echo", "metadata": object{"a": "b"}}).JSON(t, &conversation)
	if res := p.Do("PATCH", "/v1/conversations/"+conversation.ID, coaitest.AdminKey, object{"status": "completed"}); res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	var rows []models.Event
	if err := p.DB.Read().NewSelect().Model(&rows).Order("id").Scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := make(map[models.EventType]bool)
	for i := range rows {
		e := &rows[i]
		seen[e.Type] = true
		body, err := e.Body()
		if err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		if schemas[e.Type] == nil {
			t.Fatalf("the event %s is not published", e.Type)
		}
		if err := schemas[e.Type].Validate(value); err != nil {
			t.Errorf("%s: %v\n%s", e.Type, err, body)
		}
		if strings.Contains(string(body), "password") || strings.Contains(string(body), "hash") {
			t.Errorf("%s holds a secret: %s", e.Type, body)
		}
	}
	for _, want := range []models.EventType{models.EventUserRegistered, models.EventPaymentSucceeded, models.EventConversationCreated, models.EventConversationCompleted} {
		if !seen[want] {
			t.Errorf("no event %s", want)
		}
	}
}
