package models

import (
	"net/netip"
	"net/url"
	"strings"
)

// Validate checks a channel as it would be stored.
func (c *Channel) Validate() error {
	if c.Name == "" {
		return Missing("name")
	}
	if err := validName("name", c.Name, 1, 100); err != nil {
		return err
	}
	switch c.Type {
	case "":
		return Missing("type")
	case ChannelOpenAI, ChannelAzure, ChannelAnthropic, ChannelGemini, ChannelOllama:
		if c.BaseURL == "" {
			return Missing("base_url")
		}
		if err := validURL("base_url", c.BaseURL); err != nil {
			return err
		}
	case ChannelEcho:
		if c.BaseURL != "" {
			return Invalid("base_url", "A channel of type echo has no 'base_url'.")
		}
	default:
		return Invalid("type", "'type' must be one of %s; got '%s'.", oneOf(ChannelTypes()), clip(string(c.Type), 40))
	}
	if len(c.Models) == 0 {
		return Invalid("models", "'models' must name at least one model.")
	}
	if err := validNames("models", c.Models, 1000, maxModelName); err != nil {
		return err
	}
	if len(c.ModelMapping) > 1000 {
		return Invalid("model_mapping", "'model_mapping' must have at most 1000 entries.")
	}
	for from, to := range c.ModelMapping {
		at := "model_mapping." + clip(from, 40)
		if err := validName(at, from, 1, maxModelName); err != nil {
			return err
		}
		if err := validName(at, to, 1, maxModelName); err != nil {
			return err
		}
	}
	if err := validNames("tags", c.Tags, maxTags, 64); err != nil {
		return err
	}
	if err := validNames("groups", c.Groups, maxTags, 64); err != nil {
		return err
	}
	if c.Type == ChannelEcho && c.Settings.ProbeIntervalSeconds != nil {
		return Invalid("settings.probe_interval_seconds", "A channel of type echo is never probed.")
	}
	if c.Weight < 1 || c.Weight > 1000 {
		return Invalid("weight", "'weight' must be between 1 and 1000; got %d.", c.Weight)
	}
	if c.Priority < -1000 || c.Priority > 1000 {
		return Invalid("priority", "'priority' must be between -1000 and 1000; got %d.", c.Priority)
	}
	for _, l := range []struct {
		param string
		v     *int
	}{{"limits.rpm", c.Limits.RPM}, {"limits.tpm", c.Limits.TPM}, {"limits.concurrency", c.Limits.Concurrency}} {
		if l.v != nil && *l.v < 1 {
			return Invalid(l.param, "'%s' must be at least 1, or null for no limit.", l.param)
		}
	}
	return c.Settings.validate()
}

func (s *ChannelSettings) validate() error {
	if len(s.Headers) > 50 {
		return Invalid("settings.headers", "'settings.headers' must have at most 50 headers.")
	}
	for name, value := range s.Headers {
		if err := validHeader(name, value); err != nil {
			return err
		}
	}
	if s.Organization != nil {
		if err := validName("settings.organization", *s.Organization, 1, 200); err != nil {
			return err
		}
	}
	if s.ProxyURL != nil {
		u, err := url.Parse(*s.ProxyURL)
		if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5" {
			return Invalid("settings.proxy_url", "'settings.proxy_url' must be an http, https or socks5 URL without credentials.")
		}
	}
	if s.APIVersion != nil {
		if err := validName("settings.api_version", *s.APIVersion, 1, 50); err != nil {
			return err
		}
	}
	if s.AuthorityURL != nil {
		if err := validURL("settings.authority_url", *s.AuthorityURL); err != nil {
			return err
		}
	}
	if err := s.validateQuirks(); err != nil {
		return err
	}
	if m := s.CostMultiplier; m != nil && (*m < 0 || *m > 1000*Dollar) {
		return Invalid("settings.cost_multiplier", "'settings.cost_multiplier' must be between 0 and 1000.")
	}
	if p := s.ProbeIntervalSeconds; p != nil && (*p < 10 || *p > 86_400) {
		return Invalid("settings.probe_interval_seconds", "'settings.probe_interval_seconds' must be between 10 and 86400, or null for never.")
	}
	for _, t := range []struct {
		param string
		v     *int
	}{
		{"settings.connect_timeout_ms", s.ConnectTimeoutMS},
		{"settings.first_byte_timeout_ms", s.FirstByteTimeoutMS},
		{"settings.idle_timeout_ms", s.IdleTimeoutMS},
	} {
		if t.v != nil && (*t.v < 1 || *t.v > 3_600_000) {
			return Invalid(t.param, "'%s' must be between 1 and 3600000 milliseconds.", t.param)
		}
	}
	return nil
}

// hopHeaders may not be set by hand: they belong to the connection, or carry
// what the product itself puts there.
var hopHeaders = map[string]bool{ //nolint:gochecknoglobals // a constant table
	"authorization": true, "host": true, "content-length": true, "content-type": true, "connection": true,
	"transfer-encoding": true, "te": true, "trailer": true, "upgrade": true, "keep-alive": true,
	"proxy-authorization": true, "proxy-connection": true, "cookie": true, "accept-encoding": true,
}

func validHeader(name, value string) error {
	const at = "settings.headers"
	switch {
	case name == "" || len(name) > 100 || strings.ContainsFunc(name, notToken):
		return Invalid(at, "'%s' is not a header name.", clip(name, 60))
	case hopHeaders[strings.ToLower(name)]:
		return Invalid(at, "The header '%s' is set by CoAI itself.", name)
	case len(value) > 4096 || strings.ContainsFunc(value, func(r rune) bool { return r < 0x20 && r != '\t' || r == 0x7f }):
		return Invalid(at+"."+name, "The value of '%s' must have at most 4096 characters and no control characters.", name)
	}
	return nil
}

func validURL(param, s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		u.RawQuery != "" || u.Fragment != "" || len(s) > 2048 {
		return Invalid(param, "'%s' must be an http or https URL without credentials, query or fragment, of at most 2048 characters.", param)
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && (a.IsUnspecified() || a.IsMulticast()) {
		return Invalid(param, "'%s' must name a host, not the address %s.", param, a)
	}
	return nil
}

// oneOf lists the values of an enumeration for an error message.
func oneOf[T ~string](values []T) string {
	names := make([]string, len(values))
	for i, v := range values {
		names[i] = string(v)
	}
	return strings.Join(names, ", ")
}
