package webhooks

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Schedule are the pauses before the second, third… attempt: with the first at
// once ten attempts, over three days.
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#deliverability-and-reliability
func Schedule() []time.Duration {
	return []time.Duration{
		5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
		10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
	}
}

// maxRetryAfter bounds how long an endpoint may ask to be left alone.
const maxRetryAfter = 24 * time.Hour

// pause is the time until the next attempt after the nth in a row that failed,
// spread by a fifth to both sides; ok is false when no attempt is left. The endpoint
// may ask for longer, up to a day.
func pause(schedule []time.Duration, n int, retryAfter time.Duration) (d time.Duration, ok bool) {
	if n < 1 || n > len(schedule) {
		return 0, false
	}
	d = spread(schedule[n-1])
	return max(d, min(retryAfter, maxRetryAfter)), true
}

// spread keeps what failed together from coming back together.
func spread(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

// retryAfter reads the header of that name: seconds, or a date. Whatever cannot be
// read is no wish. https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if value == "" || len(value) > 64 {
		return 0
	}
	if isDigits(value) {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n > int64(maxRetryAfter/time.Second) {
			return maxRetryAfter
		}
		return time.Duration(n) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), maxRetryAfter)
}

func isDigits(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}
