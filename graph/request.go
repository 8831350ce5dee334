package graph

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/coaidev/coai/models"
)

// request is a GraphQL request as a client sent it, whatever the transport. Of the
// extensions only persistedQuery is known.
// https://graphql.github.io/graphql-over-http/draft/#sec-Request-Parameters
type request struct {
	query         string // empty until documents.complete when hash names it
	hash          string // of the document, in lower-case hex; may be empty
	operationName string
	variables     []byte // a JSON object, or empty
}

// decodeRequest reads a request from the JSON of a body or of a message. The
// error never repeats the text, which may hold secrets.
func decodeRequest(body []byte) (*request, error) {
	members, err := decodeObject(body)
	if err != nil {
		return nil, badJSON("The request", err)
	}
	return requestFrom(members)
}

// requestFrom makes a request of its JSON members.
func requestFrom(members map[string]jsontext.Value) (*request, error) {
	req := new(request)
	var err error
	if req.query, err = stringMember(members, "query"); err != nil {
		return nil, err
	}
	if req.operationName, err = stringMember(members, "operationName"); err != nil {
		return nil, err
	}
	for _, name := range []string{"variables", "extensions"} {
		switch members[name].Kind() {
		case jsontext.KindBeginObject, jsontext.KindNull, jsontext.KindInvalid: // invalid: absent
		default:
			return nil, models.Invalid(name, "'%s' must be a JSON object.", name)
		}
	}
	if v := members["variables"]; v.Kind() == jsontext.KindBeginObject {
		req.variables = v
	}
	id, err := stringMember(members, "documentId")
	if err != nil {
		return nil, err
	}
	if req.hash, err = documentHash(id, members["extensions"]); err != nil {
		return nil, err
	}
	if req.query == "" && req.hash == "" {
		return nil, models.Missing("query")
	}
	return req, nil
}

func stringMember(members map[string]jsontext.Value, name string) (string, error) {
	v, ok := members[name]
	if !ok || v.Kind() == jsontext.KindNull {
		return "", nil
	}
	if v.Kind() != jsontext.KindString {
		return "", models.Invalid(name, "'%s' must be a string.", name)
	}
	text, err := jsontext.AppendUnquote(nil, v)
	if err != nil {
		return "", badJSON("'"+name+"'", err)
	}
	return string(text), nil
}

var errNotObject = errors.New("not an object")

// decodeObject splits a JSON object into its members, whose values share the
// memory of text. Repeated keys, on any level, and invalid UTF-8 are errors.
func decodeObject(text []byte) (map[string]jsontext.Value, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(text))
	if dec.PeekKind() != jsontext.KindBeginObject {
		if _, err := dec.ReadValue(); err != nil {
			return nil, err
		}
		return nil, errNotObject
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	members := make(map[string]jsontext.Value)
	for dec.PeekKind() == jsontext.KindString {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		key := name.String()
		value, err := dec.ReadValue()
		if err != nil {
			return nil, err
		}
		end := dec.InputOffset() // the decoder's own slice is valid until its next call only
		members[key] = text[end-int64(len(value)) : end]
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("text after the object")
	}
	return members, nil
}

// badJSON reports JSON that cannot be read, by its place and not by its text.
func badJSON(what string, err error) *models.Error {
	e := &models.Error{Kind: models.KindInvalid, Code: models.CodeInvalidJSON, Message: what + " is not valid JSON."}
	var syntax *jsontext.SyntacticError
	switch {
	case errors.Is(err, errNotObject):
		e.Message = what + " must be a JSON object."
	case errors.Is(err, jsontext.ErrDuplicateName):
		e.Message = what + " is not valid JSON: a key is repeated in an object."
	case errors.As(err, &syntax):
		e.Message = fmt.Sprintf("%s is not valid JSON (at byte %d).", what, syntax.ByteOffset)
	}
	return e
}
