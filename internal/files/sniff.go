package files

import (
	"mime"
	"path"
	"strings"

	"github.com/gabriel-vasile/mimetype"
)

// headSize is how many bytes of a file its type is found in: mimetype's own limit.
const headSize = 3072

const octets = "application/octet-stream"

// sniff finds the media type of a file in its first bytes. The name and the type
// that the client declares only make it more precise: which sort of text it is.
func sniff(head []byte, name, declared string) string {
	t := mimetype.Detect(head)
	found, _, err := mime.ParseMediaType(t.String())
	if err != nil {
		return octets
	}
	if found != "text/plain" {
		return found
	}
	if known, ok := texts()[strings.ToLower(path.Ext(name))]; ok {
		return known
	}
	// A declared type of text is believed, but for those that browsers run.
	if d, _, err := mime.ParseMediaType(declared); err == nil {
		for _, known := range texts() {
			if d == known {
				return d
			}
		}
	}
	return found
}

// texts are the kinds of text that look alike, by the extensions of their names.
func texts() map[string]string {
	return map[string]string{
		".md": "text/markdown", ".markdown": "text/markdown", ".csv": "text/csv", ".tsv": "text/tab-separated-values",
		".json": "application/json", ".jsonl": "application/jsonl", ".ndjson": "application/jsonl",
		".yaml": "application/yaml", ".yml": "application/yaml", ".toml": "application/toml", ".xml": "text/xml",
	}
}

// IsText says whether a file of this type can be given to a model as it is.
func IsText(contentType string) bool {
	switch contentType {
	case "application/json", "application/jsonl", "application/x-ndjson", "application/yaml", "application/toml", "application/xml",
		"application/javascript", "application/x-httpd-php", "application/x-sh", "application/geo+json", "application/sql":
		return true
	}
	return strings.HasPrefix(contentType, "text/")
}
