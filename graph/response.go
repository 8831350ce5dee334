package graph

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/coaidev/coai/models"
)

// appendResponse appends a response as JSON on one line. A response without
// data, which is that to a request that was not executed, has no `data` key.
func appendResponse(b []byte, resp *graphql.Response) []byte {
	b = append(b, '{')
	first := true
	member := func(name string, value []byte) {
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(append(append(b, '"'), name...), '"', ':')
		b = append(b, value...)
	}
	if len(resp.Errors) > 0 {
		member("errors", encodeErrors(resp.Errors))
	}
	if resp.Data != nil {
		member("data", clean(resp.Data))
	}
	if len(resp.Extensions) > 0 {
		if ext, err := json.Marshal(resp.Extensions); err == nil {
			member("extensions", ext)
		}
	}
	return append(b, '}')
}

// clean makes data fit for one line of an event stream and for a text message:
// the scalar JSON passes on bytes of others, which may be indented, or not UTF-8.
func clean(data []byte) []byte {
	if !utf8.Valid(data) {
		data = bytes.ToValidUTF8(data, []byte("\uFFFD"))
	}
	if !bytes.ContainsAny(data, "\r\n") {
		return data
	}
	var line bytes.Buffer
	if err := json.Compact(&line, data); err != nil {
		return []byte(strings.NewReplacer("\r", " ", "\n", " ").Replace(string(data)))
	}
	return line.Bytes()
}

// writeResponse answers an HTTP request with something short.
func writeResponse(w http.ResponseWriter, status int, media string, resp *graphql.Response) {
	w.Header().Set("Content-Type", media+"; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(appendResponse(nil, resp))
}

func encodeErrors(list gqlerror.List) []byte {
	b, err := json.Marshal(list)
	if err != nil { // an extension that is no JSON: none of ours
		return []byte(`[{"message":"The errors could not be encoded.","extensions":{"code":"` + models.CodeInternal + `"}}]`)
	}
	return b
}
