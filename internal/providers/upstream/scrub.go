package upstream

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxMessage = 500
	mask       = "***"
)

// secret matches what must not leave the house in an upstream's text.
var secret = regexp.MustCompile(strings.Join([]string{
	`(?i)\b[a-z][a-z0-9+.-]*://[^\s"'<>]+`, // URLs
	`(?i)\bbearer\s+[^\s"',;]+`,            // authorisation headers
	`(?i)\b(?:api[-_ ]?)?(?:key|token|secret|password|signature)["']?\s*[=:]\s*["']?[^\s"',;&]+`,  // key=value
	`\b(?:sk|pk|rk|ak|gsk|xai|hf|r8|fw|pplx|csk|nvapi|org|proj|sess|key)[-_][A-Za-z0-9_*.…-]{3,}`, // keys and organisations
	`\bAIza[A-Za-z0-9_-]{8,}`,                       // Google's keys
	`\beyJ[A-Za-z0-9_-]{8,}[A-Za-z0-9_.-]*`,         // JSON Web Tokens
	`\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b`,          // IPv4 addresses
	`\[[0-9a-fA-F]*:[0-9a-fA-F:.]+\](?::\d+)?`,      // IPv6 addresses
	`(?i)\b[a-z0-9._%+-]+@[a-z0-9.-]+\.[a-z]{2,}\b`, // mail addresses
}, "|"))

// Scrub makes an upstream's text fit to be shown: on one line, of at most 500
// characters, without credentials, URLs, addresses and organisation ids.
func (c *Client) Scrub(text string) string {
	if len(text) > maxErrorBody {
		text = text[:maxErrorBody]
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	for _, own := range c.secrets {
		text = strings.ReplaceAll(text, own, mask)
	}
	text = secret.ReplaceAllString(text, mask)
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	}), " ")
	if utf8.RuneCountInString(text) > maxMessage {
		text = string([]rune(text)[:maxMessage-1]) + "…"
	}
	return text
}

// secrets are the configured values that no text may quote.
func (c *Config) secrets() []string {
	var list []string
	add := func(value string) {
		if len(value) >= 4 {
			list = append(list, value)
		}
	}
	for _, value := range c.Secrets {
		add(value)
	}
	for name, value := range c.Extra {
		if name = strings.ToLower(name); strings.Contains(name, "key") || strings.Contains(name, "auth") || strings.Contains(name, "token") || strings.Contains(name, "secret") {
			add(strings.TrimSpace(strings.TrimPrefix(value, "Bearer ")))
		}
	}
	return list
}
