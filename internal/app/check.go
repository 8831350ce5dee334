package app

import (
	"context"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coaidev/coai/internal/safehttp"
	"github.com/coaidev/coai/internal/sealed"
	"github.com/coaidev/coai/internal/storage"
)

// checkValue applies a rule of the tag check to a parsed value. Where it does
// not hold, allowed says what would.
func checkValue(rule, text string, v any) (allowed string, ok bool) {
	switch rule {
	case "":
		return "", true
	case "positive":
		return "more than 0", number(v) > 0
	case "not-negative":
		return "0 or more", number(v) >= 0
	}
	if text == "" { // for the rules below, empty means "not set"
		return "", true
	}
	switch rule {
	case "addr":
		return "host:port such as 127.0.0.1:8080 or :8080", validAddr(text)
	case "origins":
		return "* or origins such as https://app.example.com, separated by commas", validOrigins(v)
	case "database":
		return "sqlite:PATH or a URL that begins with postgres://", validDatabase(text)
	case "redis":
		return "a URL that begins with redis://, rediss://, unix:// or redis-sentinel://", validRedis(text)
	case "http-url":
		return "a URL that begins with http:// or https://", hasScheme(text, "http", "https")
	case "bootstrap-key":
		return "24 or more printable ASCII characters without spaces", validBootstrapKey(text)
	case "master-key":
		_, err := sealed.LoadKey(text, "")
		return "32 bytes in base64 or hex, as 'openssl rand -base64 32' makes them", err == nil
	case "prices":
		list, _ := v.([]string)
		_, ok := stripePrices(list)
		return "pairs such as pro=price_1,enterprise=price_2", ok
	case "networks":
		_, err := safehttp.ParsePolicy(text, true)
		return "off, or networks such as 10.0.0.0/8, separated by commas", err == nil
	}
	panic("no such rule: " + rule)
}

func number(v any) int64 {
	switch v := v.(type) {
	case int:
		return int64(v)
	case Size:
		return int64(v)
	case time.Duration:
		return int64(v)
	}
	panic("not a number")
}

func validAddr(text string) bool {
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

func validOrigins(v any) bool {
	list, _ := v.([]string)
	return !slices.ContainsFunc(list, func(o string) bool {
		u, err := url.Parse(o)
		return o != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" || u.RawQuery != "")
	})
}

func validDatabase(text string) bool {
	if path, ok := strings.CutPrefix(text, "sqlite:"); ok {
		return path != ""
	}
	return hasScheme(text, "postgres", "postgresql")
}

// validRedis makes a client, which reads the whole URL and connects to nothing.
func validRedis(text string) bool {
	rds, err := storage.OpenRedis(context.Background(), text)
	return err == nil && rds.Close() == nil
}

func hasScheme(text string, schemes ...string) bool {
	u, err := url.Parse(text)
	return err == nil && slices.Contains(schemes, u.Scheme) && (u.Host != "" || u.RawQuery != "")
}

func validBootstrapKey(text string) bool {
	return len(text) >= 24 && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}
