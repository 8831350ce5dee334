package graph

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// The media types of answers.
const (
	mediaGraphQL = "application/graphql-response+json"
	mediaJSON    = "application/json"
	mediaEvents  = "text/event-stream"
)

// negotiate picks the media type of the answer from the Accept header: the one
// with the highest quality, and among equals the one that is named first; an
// empty string when none will do. A client that does not care gets
// application/json, as clients from before application/graphql-response+json expect.
// https://graphql.github.io/graphql-over-http/draft/#sec-Accept
func negotiate(r *http.Request) string {
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if strings.TrimSpace(accept) == "" {
		return mediaJSON
	}
	best, bestQuality := "", 0.0
	for part := range strings.SplitSeq(accept, ",") {
		media, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		switch media {
		case mediaGraphQL, mediaJSON, mediaEvents:
		case "*/*", "application/*":
			media = mediaJSON
		default:
			continue
		}
		if q := quality(params); q > bestQuality {
			best, bestQuality = media, q
		}
	}
	return best
}

// wantsPage says whether a browser asks for a page to look at: it names HTML, and
// none of the API's media types.
func wantsPage(r *http.Request) bool {
	page := false
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		media, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		switch media {
		case mediaGraphQL, mediaJSON, mediaEvents:
			return false
		case "text/html":
			page = quality(params) > 0
		}
	}
	return page
}

func quality(params map[string]string) float64 {
	text, ok := params["q"]
	if !ok {
		return 1
	}
	q, err := strconv.ParseFloat(text, 64)
	if err != nil || !(q >= 0 && q <= 1) {
		return 0
	}
	return q
}

// acceptable says whether the body is JSON in UTF-8. Nothing else is taken, and
// so a page of another origin cannot send a request without asking first
// (preflight): forms and plain text are no JSON.
func acceptable(r *http.Request) bool {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return false
	}
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset, given := params["charset"]
	return err == nil && media == mediaJSON && (!given || strings.EqualFold(charset, "utf-8"))
}
