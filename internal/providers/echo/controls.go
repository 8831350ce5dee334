package echo

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

const maxDelayMS = 60_000

type failKind string

const (
	failNot       failKind = ""
	failBefore    failKind = "before"
	failRateLimit failKind = "rate_limit"
	failTimeout   failKind = "timeout"
	failMid       failKind = "mid"
	failInvalid   failKind = "invalid"
)

// controls are what the request's metadata asks for.
type controls struct {
	firstDelay, delay time.Duration
	toolCalls         int // -1: as the request's tools and text say
	fail              failKind
}

// readControls checks the metadata. Keys that do not begin with echo_ are the
// client's own.
func readControls(m models.Metadata) (*controls, error) {
	c := &controls{toolCalls: -1}
	keys := make([]string, 0, len(m))
	for k := range m {
		if strings.HasPrefix(k, "echo_") {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys) // of several mistakes always the same is named
	for _, key := range keys {
		value, param := m[key], "metadata."+key
		var err error
		switch key {
		case "echo_first_delay_ms":
			c.firstDelay, err = readDelay(param, value)
		case "echo_delay_ms":
			c.delay, err = readDelay(param, value)
		case "echo_tool_calls":
			c.toolCalls, err = readInt(param, value, models.MaxTools)
		case "echo_fail":
			c.fail = failKind(value)
			if !slices.Contains([]failKind{failBefore, failRateLimit, failTimeout, failMid, failInvalid}, c.fail) {
				err = invalid(param, "'metadata.echo_fail' must be one of before, rate_limit, timeout, mid, invalid.")
			}
		default:
			err = invalid(param, "The echo model knows echo_first_delay_ms, echo_delay_ms, echo_tool_calls and echo_fail in 'metadata'.")
		}
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}

func readDelay(param, value string) (time.Duration, error) {
	n, err := readInt(param, value, maxDelayMS)
	return time.Duration(n) * time.Millisecond, err
}

func readInt(param, value string, most int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 || n > most {
		return 0, invalid(param, fmt.Sprintf("'%s' must be the text of a whole number from 0 to %d.", param, most))
	}
	return n, nil
}

// failure is the failure that was asked for before any answer.
func (c *controls) failure() error {
	switch c.fail {
	case failBefore:
		return &providers.Error{Class: providers.Unavailable, Status: http.StatusServiceUnavailable, Message: "The upstream failed."}
	case failRateLimit:
		return &providers.Error{
			Class: providers.RateLimited, Status: http.StatusTooManyRequests, Retry: time.Second,
			Message: "The upstream is over its rate limit.",
		}
	case failInvalid:
		return invalid("metadata.echo_fail", "The echo model was told to reject this request.")
	case failNot, failTimeout, failMid:
	}
	return nil
}
