package models

import (
	"encoding/base64"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"
)

const (
	// WebhookSecretPrefix begins the secrets of endpoints.
	WebhookSecretPrefix = "whsec_"

	maxWebhookURL     = 2048
	maxWebhookHeaders = 20
	maxWebhookHeader  = 1024 // characters of a value
	minSecretBytes    = 24
	maxSecretBytes    = 64
)

// CreateWebhookInput makes an endpoint of the viewer's.
type CreateWebhookInput struct {
	URL         string    `json:"url"`
	Description *string   `json:"description,omitempty"`
	Events      []string  `json:"events,omitempty"` // default: all
	Headers     StringMap `json:"headers,omitempty"`
	Enabled     *bool     `json:"enabled,omitempty"` // default true
	Secret      *string   `json:"secret,omitempty"`  // default: a new one
}

// Validate checks the input. Plain http is refused unless allowHTTP says so.
func (in *CreateWebhookInput) Validate(allowHTTP bool) error {
	if in.URL == "" {
		return Missing("url")
	}
	if err := validWebhookURL(in.URL, allowHTTP); err != nil {
		return err
	}
	if in.Description != nil {
		if err := validName("description", *in.Description, 0, 500); err != nil {
			return err
		}
	}
	if in.Events == nil {
		in.Events = []string{AllEvents}
	}
	if err := validEvents(in.Events); err != nil {
		return err
	}
	if err := validWebhookHeaders(in.Headers); err != nil {
		return err
	}
	return validWebhookSecret(in.Secret)
}

// UpdateWebhookInput changes an endpoint. Absent fields stay as they are.
type UpdateWebhookInput struct {
	URL         *string                      `json:"url,omitempty"`
	Description *string                      `json:"description,omitempty"`
	Events      []string                     `json:"events,omitempty"`
	Headers     graphql.Omittable[StringMap] `json:"headers,omitzero"` // null: none
	Enabled     *bool                        `json:"enabled,omitempty"`
}

// Validate checks the input. Plain http is refused unless allowHTTP says so.
func (in *UpdateWebhookInput) Validate(allowHTTP bool) error {
	if in.URL != nil {
		if err := validWebhookURL(*in.URL, allowHTTP); err != nil {
			return err
		}
	}
	if in.Description != nil {
		if err := validName("description", *in.Description, 0, 500); err != nil {
			return err
		}
	}
	if in.Events != nil {
		if err := validEvents(in.Events); err != nil {
			return err
		}
	}
	return validWebhookHeaders(in.Headers.Value())
}

// RotateWebhookSecretInput says how an endpoint's secret is replaced.
type RotateWebhookSecretInput struct {
	// GraceSeconds is how long the old secret signs too, 0 to 7 days; absent means
	// [DefaultWebhookGrace].
	GraceSeconds *int    `json:"grace_seconds,omitempty"`
	Secret       *string `json:"secret,omitempty"` // default: a new one
}

// Validate checks the input, and gives the grace period.
func (in *RotateWebhookSecretInput) Validate() (time.Duration, error) {
	if err := validWebhookSecret(in.Secret); err != nil {
		return 0, err
	}
	const most = 7 * 24 * 60 * 60
	switch s := in.GraceSeconds; {
	case s == nil:
		return DefaultWebhookGrace, nil
	case *s < 0 || *s > most:
		return 0, Invalid("grace_seconds", "'grace_seconds' must be between 0 and %d; got %d.", most, *s)
	default:
		return time.Duration(*s) * time.Second, nil
	}
}

// RedeliverWebhooksInput says which of an endpoint's deliveries are made again.
type RedeliverWebhooksInput struct {
	Since  *time.Time             `json:"since,omitempty"`  // of events at or after; required
	Until  *time.Time             `json:"until,omitempty"`  // of events before; default: now
	Status *WebhookDeliveryStatus `json:"status,omitempty"` // failed (default), cancelled or delivered
	Events []string               `json:"events,omitempty"` // of these types; default: all
}

// Validate checks the input.
func (in *RedeliverWebhooksInput) Validate() error {
	if in.Since == nil {
		return Missing("since")
	}
	if in.Until != nil && !in.Until.After(*in.Since) {
		return Invalid("until", "'until' must be after 'since'.")
	}
	if in.Status != nil && *in.Status != DeliveryFailed && *in.Status != DeliveryCancelled && *in.Status != DeliveryDelivered {
		return Invalid("status", "'status' must be one of failed, cancelled, delivered.")
	}
	if in.Events != nil {
		return validEvents(in.Events)
	}
	return nil
}

// Validate checks the filter.
func (f *WebhookDeliveryFilter) Validate() error {
	all := []WebhookDeliveryStatus{DeliveryPending, DeliveryInflight, DeliveryDelivered, DeliveryFailed, DeliveryCancelled}
	if f.Status != nil && !slices.Contains(all, *f.Status) {
		return Invalid("status", "'status' must be one of %s.", oneOf(all))
	}
	if f.Event != nil && !slices.Contains(EventTypes(), EventType(*f.Event)) {
		return Invalid("event", "'event' must be one of %s.", oneOf(EventTypes()))
	}
	return nil
}

func validEvents(events []string) error {
	if len(events) == 0 {
		return Invalid("events", "'events' must name at least one type of event, or *.")
	}
	types := EventTypes()
	for i, e := range events {
		if e != AllEvents && (e == string(EventWebhookTest) || !slices.Contains(types, EventType(e))) {
			return Invalid(indexed("events", i), "'%s' is not a type of event; use * or some of %s.", clip(e, 60), oneOf(types[:len(types)-1]))
		}
		if slices.Contains(events[:i], e) {
			return Invalid(indexed("events", i), "The type '%s' is repeated.", e)
		}
	}
	return nil
}

func validWebhookURL(s string, allowHTTP bool) error {
	if len(s) > maxWebhookURL {
		return Invalid("url", "'url' must have at most %d characters; got %d.", maxWebhookURL, len(s))
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "" || u.Opaque != "" || u.Scheme != "https" && u.Scheme != "http":
		return Invalid("url", "'url' must be an https URL such as https://example.com/webhooks.")
	case u.Scheme == "http" && !allowHTTP:
		return Invalid("url", "'url' must be an https URL; plain http is not allowed.")
	case u.User != nil:
		return Invalid("url", "'url' must not hold a user name or a password; use 'headers'.")
	case u.Fragment != "":
		return Invalid("url", "'url' must have no fragment.")
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && (a.IsUnspecified() || a.IsMulticast()) {
		return Invalid("url", "'url' must name a host, not the address %s.", a)
	}
	return nil
}

// ownHeader says whether a header is set by the product, or belongs to the
// connection. Authorization is not among them: receivers ask for it.
func ownHeader(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, "webhook-") || name == "user-agent" || hopHeaders[name] && name != "authorization"
}

func validWebhookHeaders(headers StringMap) error {
	if len(headers) > maxWebhookHeaders {
		return Invalid("headers", "'headers' must have at most %d entries; got %d.", maxWebhookHeaders, len(headers))
	}
	seen := make(map[string]bool, len(headers))
	for name, value := range headers {
		lower := strings.ToLower(name)
		switch {
		case name == "" || len(name) > 100 || strings.ContainsFunc(name, notToken):
			return Invalid("headers", "'%s' is not a header name.", clip(name, 60))
		case ownHeader(name):
			return Invalid("headers", "The header '%s' is set by CoAI itself.", name)
		case seen[lower]:
			return Invalid("headers", "The header '%s' is repeated.", name)
		case len(value) > maxWebhookHeader || strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 && r != '\t' || r == 0x7f }):
			return Invalid("headers."+name, "The value of '%s' must have at most %d characters and no control characters.", name, maxWebhookHeader)
		}
		seen[lower] = true
	}
	return nil
}

func notToken(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r))
}

// ParseWebhookSecret gives the key in a secret: whsec_ and the base64 of 24 to 64
// bytes. https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
func ParseWebhookSecret(s string) (key []byte, ok bool) {
	text, prefixed := strings.CutPrefix(s, WebhookSecretPrefix)
	if !prefixed || len(text) > 4*maxSecretBytes {
		return nil, false
	}
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(key) < minSecretBytes || len(key) > maxSecretBytes || strings.ContainsAny(text, "\r\n") {
		return nil, false
	}
	return key, true
}

func validWebhookSecret(s *string) error {
	if s == nil {
		return nil
	}
	if _, ok := ParseWebhookSecret(*s); !ok {
		return Invalid("secret", "'secret' must be whsec_ followed by the base64 of %d to %d random bytes.", minSecretBytes, maxSecretBytes)
	}
	return nil
}
