package server

import (
	"compress/gzip"
	"net/http"

	"github.com/klauspost/compress/gzhttp"
	"github.com/rs/cors"
)

// crossOrigin lets pages of the origins (empty: of any) call with a bearer
// key. Cookies are never accepted from elsewhere.
func crossOrigin(origins []string, next http.Handler) http.Handler {
	const tenMinutes = 600
	return cors.New(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
		AllowedHeaders: []string{"*"},
		ExposedHeaders: []string{
			"X-Request-Id", "Retry-After", "Retry-After-Ms", "X-Should-Retry",
			"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset",
			"X-RateLimit-Limit-Requests", "X-RateLimit-Remaining-Requests", "X-RateLimit-Reset-Requests",
			"OpenAI-Processing-Ms", "X-CoAI-Channel", "X-CoAI-Cache", "Idempotent-Replayed",
		},
		MaxAge: tenMinutes,
	}).Handler(next)
}

// compress gzips JSON and texts of more than about a packet. Event streams
// never pass through the compressor: see exchange.WriteHeader.
func compress(next http.Handler) http.Handler {
	const least = 2048
	wrap, err := gzhttp.NewWrapper(
		gzhttp.EnableZstd(false),
		gzhttp.CompressionLevel(gzip.BestSpeed),
		gzhttp.MinSize(least),
		gzhttp.SetContentType(false),
		gzhttp.ContentTypes([]string{"application/json", "application/graphql-response+json", "text/plain", "text/csv"}),
	)
	if err != nil {
		panic(err) // the options are constants
	}
	return wrap(next)
}
