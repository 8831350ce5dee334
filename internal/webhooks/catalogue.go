package webhooks

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"time"

	"github.com/coaidev/coai/models"
)

// catalogue describes what `data` holds, for each type of event.
//
//go:embed catalogue.json
var catalogue []byte

// Events are the types of events, each with an example and the JSON Schema of
// what endpoints are sent. Scope: webhooks.
func (s *Service) Events(_ context.Context, v *models.Viewer) ([]*models.EventDescription, error) {
	if err := v.Require(models.ScopeWebhooks); err != nil {
		return nil, err
	}
	return Catalogue()
}

// Catalogue are the types of events.
func Catalogue() ([]*models.EventDescription, error) {
	var entries []struct {
		Type        models.EventType
		Description string
		Data        json.RawMessage
		Example     json.RawMessage
	}
	if err := json.Unmarshal(catalogue, &entries); err != nil {
		return nil, fmt.Errorf("read the catalogue of events: %w", err)
	}
	list := make([]*models.EventDescription, len(entries))
	for i, e := range entries {
		at := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
		example := models.Event{ID: "evt_0000000000000000000000000a", Type: e.Type, Payload: e.Example, CreatedAt: at}
		body, err := example.Body()
		if err != nil {
			return nil, fmt.Errorf("encode the example of %s: %w", e.Type, err)
		}
		schema, err := envelope(e.Type, e.Description, e.Data)
		if err != nil {
			return nil, fmt.Errorf("encode the schema of %s: %w", e.Type, err)
		}
		list[i] = &models.EventDescription{
			Type: e.Type, Description: e.Description, ForAdmins: e.Type.ForAdmins(), Schema: schema, Example: body,
		}
	}
	return list, nil
}

// envelope is the schema of the body around data. Receivers must bear members that
// it does not name: further ones may come.
func envelope(kind models.EventType, description string, data json.RawMessage) (models.JSON, error) {
	type object = map[string]any
	return json.Marshal(object{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"title":       kind,
		"description": description,
		"type":        "object",
		"required":    []string{"id", "object", "type", "created_at", "timestamp", "api_version", "data"},
		"properties": object{
			"id":          object{"type": "string", "pattern": "^evt_", "description": "The event's id, and the webhook-id of the request."},
			"object":      object{"const": "event"},
			"type":        object{"const": kind},
			"created_at":  object{"type": "integer", "description": "When it happened, in Unix seconds."},
			"timestamp":   object{"type": "string", "format": "date-time", "description": "When it happened."},
			"api_version": object{"const": "v1"},
			"data":        data,
		},
	})
}
