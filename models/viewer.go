package models

import (
	"context"
	"slices"
	"time"
)

// Viewer is who makes a request: a user, through one of their API keys or in a
// session. Every
// domain method that serves a user takes it as its second parameter.
type Viewer struct {
	UserID        string
	Role          Role
	Tier          Tier
	KeyID         string // empty in a session
	SessionID     string // empty for an API key
	Scopes        []Scope
	AllowedModels []string      // empty: all
	AllowedCIDRs  []string      // empty: from anywhere
	ChannelTags   []string      // empty: all channels; else those with one of these tags
	Groups        []string      // of the user: opens the channels that are for one of them alone
	CacheTTL      time.Duration // how long answers are kept for the same question; 0: not at all
	Metered       bool          // the user or the key has a balance or a budget
	OnDisconnect  OnDisconnect
	Limits        *ViewerLimits // beside the windows of the plan; nil: none
	Operator      bool          // acts on the command line
}

// Require fails unless the viewer is signed in and its key carries the scope.
// [ScopeAdmin] asks for the admin role too.
func (v *Viewer) Require(s Scope) error {
	if v == nil {
		return &Error{
			Kind: KindUnauthenticated, Code: CodeMissingAPIKey,
			Message: "No API key was given. Send it as 'Authorization: Bearer <key>'.",
		}
	}
	if !slices.Contains(v.Scopes, s) {
		return Forbidden(CodeInsufficientScope, "This API key lacks the scope '%s'.", s)
	}
	if s == ScopeAdmin && v.Role != RoleAdmin {
		return Forbidden(CodeInsufficientScope, "Only an admin may do this.")
	}
	return nil
}

// IsAdmin says whether [Viewer.Require] would grant [ScopeAdmin].
func (v *Viewer) IsAdmin() bool {
	return v != nil && v.Role == RoleAdmin && slices.Contains(v.Scopes, ScopeAdmin)
}

// MayUse says whether the key's allow-list permits the model.
func (v *Viewer) MayUse(model string) bool {
	return len(v.AllowedModels) == 0 || slices.Contains(v.AllowedModels, model)
}

type contextKey int

const (
	viewerKey contextKey = iota
	requestIDKey
	clientKey
)

// WithViewer puts the viewer into a request's context. Only the faces read it
// back; the domain takes it as a parameter.
func WithViewer(ctx context.Context, v *Viewer) context.Context {
	return context.WithValue(ctx, viewerKey, v)
}

// ViewerFrom is the viewer of the request, nil for nobody.
func ViewerFrom(ctx context.Context) *Viewer {
	v, _ := ctx.Value(viewerKey).(*Viewer)
	return v
}

// WithRequestID puts the request's id into its context.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey, id)
}

// RequestValue answers for a context that carries the id and the viewer of a request
// itself, as [WithRequestID] and [WithViewer] would have it. ok is false for keys that
// are neither's.
func RequestValue(key any, id string, v *Viewer) (value any, ok bool) {
	switch key {
	case requestIDKey:
		return id, true
	case viewerKey:
		return v, true
	}
	return nil, false
}

// ClientKey is the key of [WithClient], for a context that makes the client when it is
// asked for.
func ClientKey() any { return clientKey }

// RequestIDFrom is the id of the request, empty outside one.
func RequestIDFrom(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey).(string)
	return id
}
