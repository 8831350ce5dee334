package graph

import (
	"net/http"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// message is one of the protocol's messages.
type message struct {
	id, kind string
	payload  []byte // JSON, or empty
}

func decodeMessage(text []byte) (*message, error) {
	members, err := decodeObject(text)
	if err != nil {
		return nil, err
	}
	m := &message{payload: members["payload"]}
	if m.kind, err = stringMember(members, "type"); err != nil {
		return nil, err
	}
	m.id, err = stringMember(members, "id")
	return m, err
}

// frame writes a message; no id and no payload are left out.
func frame(kind, id string, payload []byte) []byte {
	b := head(kind, id)
	if len(payload) > 0 {
		b = append(append(b, `,"payload":`...), payload...)
	}
	return append(b, '}')
}

// openFrame is a message up to where its payload begins.
func openFrame(kind, id string) []byte { return append(head(kind, id), `,"payload":`...) }

func head(kind, id string) []byte {
	b := append(append([]byte(`{"type":"`), kind...), '"')
	if id != "" {
		b, _ = jsontext.AppendQuote(append(b, `,"id":`...), id) // a decoded JSON string is valid UTF-8
	}
	return b
}

// payloadCredential is the API key in the payload of connection_init: in
// `authorization`, with or without the scheme, in `apiKey`, or in one of them
// inside `headers`, where some clients put it. It is empty when there is none,
// and an error when the payload is not an object.
func payloadCredential(payload jsontext.Value) (string, error) {
	if k := payload.Kind(); k == jsontext.KindInvalid || k == jsontext.KindNull {
		return "", nil
	}
	members, err := decodeObject(payload)
	if err != nil {
		return "", err
	}
	for _, name := range []string{"authorization", "Authorization", "apiKey"} {
		text, err := stringMember(members, name)
		if err != nil {
			return "", err
		}
		if key := withoutScheme(text); key != "" {
			return key, nil
		}
	}
	if inner := members["headers"]; inner.Kind() == jsontext.KindBeginObject {
		return payloadCredential(inner)
	}
	return "", nil
}

// headerCredential is the API key in the upgrade's headers, where the server has
// found and accepted it already.
func headerCredential(h http.Header) string {
	for _, name := range []string{"Authorization", "Api-Key", "X-Api-Key"} {
		if key := withoutScheme(h.Get(name)); key != "" {
			return key
		}
	}
	return ""
}

func withoutScheme(text string) string {
	text = strings.TrimSpace(text)
	if scheme, key, found := strings.Cut(text, " "); found && strings.EqualFold(scheme, "bearer") {
		return strings.TrimSpace(key)
	}
	return text
}

// maxClip is for close reasons, of which a frame takes 123 bytes, and for names
// in the log.
const maxClip = 120

func clip(text string) string {
	if len(text) > maxClip {
		text = strings.ToValidUTF8(text[:maxClip], "")
	}
	return text
}
