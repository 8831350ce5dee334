package graph

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/maypok86/otter/v2"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/coaidev/coai/models"
)

// persistedBytes bounds the documents that clients have left here, by bytes.
const persistedBytes = 16 << 20

// Documents are what clients may name by hash in place of sending it. Without
// trusted documents every document is allowed, and those that clients sent with
// their hash are kept in memory for a while: automatic persisted queries,
// https://www.apollographql.com/docs/apollo-server/performance/apq
//
// With trusted documents only those are executed, and nothing is learnt from
// clients: https://benjie.dev/graphql/trusted-documents
type documents struct {
	trusted map[string]string // by hash, lower-case hex; nil: none are asked for
	seen    *otter.Cache[string, string]
}

func newDocuments(trusted map[string]string) *documents {
	if trusted != nil {
		return &documents{trusted: trusted}
	}
	return &documents{seen: otter.Must(&otter.Options[string, string]{
		MaximumWeight: persistedBytes,
		Weigher:       func(hash, text string) uint32 { return uint32(len(hash) + len(text)) }, // at most maxDocumentBytes and a little
	})}
}

func (d *documents) close() {
	if d.seen != nil {
		d.seen.StopAllGoroutines()
	}
}

// complete puts the document that the request names into it. A document beside a
// hash must be the one that the hash stands for.
func (d *documents) complete(req *request) *gqlerror.Error {
	hash := req.hash
	switch {
	case req.query != "" && (hash != "" || d.trusted != nil):
		sum := sha256.Sum256([]byte(req.query))
		own := hex.EncodeToString(sum[:])
		if hash != "" && hash != own {
			return coded("The hash is not the SHA-256 of the document.", "PERSISTED_QUERY_HASH_MISMATCH")
		}
		hash = own
	case hash == "":
		return nil
	}
	if d.trusted != nil {
		text, ok := d.trusted[hash]
		if !ok {
			return coded("This server executes trusted documents only, and this is none of them.", "DOCUMENT_NOT_TRUSTED")
		}
		req.query = text
		return nil
	}
	if req.query == "" {
		text, ok := d.seen.GetIfPresent(hash)
		if !ok {
			// Message and code are the protocol's: clients then send the document.
			return coded("PersistedQueryNotFound", "PERSISTED_QUERY_NOT_FOUND")
		}
		req.query = text
	}
	return nil
}

// keep keeps the document of a request that gave its hash. It is for documents
// that are valid.
func (d *documents) keep(req *request) {
	if req.hash != "" && d.seen != nil {
		d.seen.Set(req.hash, req.query)
	}
}

func coded(message, code string) *gqlerror.Error {
	return gqlerror.Wrap(&models.Error{Kind: models.KindInvalid, Code: code, Message: message})
}

// documentHash finds the hash by which a request names its document: in
// `documentId` (GraphQL over HTTP's appendix on persisted documents), or in the
// extension `persistedQuery` (Apollo). It is empty where there is none.
// https://graphql.github.io/graphql-over-http/draft/#sec-Appendix-Persisted-Documents
func documentHash(documentID string, extensions jsontext.Value) (string, error) {
	if documentID != "" {
		return hashOf("documentId", strings.TrimPrefix(documentID, "sha256:"))
	}
	if extensions.Kind() != jsontext.KindBeginObject {
		return "", nil
	}
	members, err := decodeObject(extensions)
	if err != nil {
		return "", badJSON("'extensions'", err)
	}
	if members["persistedQuery"].Kind() != jsontext.KindBeginObject {
		return "", nil
	}
	var given struct {
		Version    int    `json:"version"`
		SHA256Hash string `json:"sha256Hash"`
	}
	if json.Unmarshal(members["persistedQuery"], &given) != nil || given.Version != 1 {
		return "", models.Invalid("extensions.persistedQuery", "'extensions.persistedQuery' must have the version 1 and a sha256Hash.")
	}
	return hashOf("extensions.persistedQuery.sha256Hash", given.SHA256Hash)
}

func hashOf(param, text string) (string, error) {
	if sum, err := hex.DecodeString(text); err != nil || len(sum) != sha256.Size {
		return "", models.Invalid(param, "'%s' must be a SHA-256 in hexadecimal.", param)
	}
	return strings.ToLower(text), nil
}

// TrustedDocuments reads a manifest of the documents that a server is to execute:
// an object of documents by their SHA-256, as GraphQL Code Generator writes it, or
// Apollo's apollo-persisted-query-manifest. Each hash must be its document's, and
// each document within the limits that hold for all.
func TrustedDocuments(manifest []byte) (map[string]string, error) {
	var apollo struct {
		Format     string
		Operations []struct{ ID, Body string }
	}
	documents := make(map[string]string)
	if err := json.Unmarshal(manifest, &apollo); err == nil && apollo.Format != "" {
		if apollo.Format != "apollo-persisted-query-manifest" {
			return nil, fmt.Errorf("trusted documents: the format %q is not known", apollo.Format)
		}
		for _, op := range apollo.Operations {
			documents[op.ID] = op.Body
		}
	} else if err := json.Unmarshal(manifest, &documents); err != nil {
		return nil, fmt.Errorf("trusted documents: neither an object of documents by hash nor Apollo's manifest: %w", err)
	}
	for hash, text := range documents {
		if sum := sha256.Sum256([]byte(text)); hex.EncodeToString(sum[:]) != hash {
			return nil, fmt.Errorf("trusted documents: %q is not the SHA-256 of its document", hash)
		}
		if _, err := guard(text); err != nil {
			return nil, fmt.Errorf("trusted documents: %s: %w", hash, err)
		}
	}
	return documents, nil
}
