package upstream

import (
	"math"
	"net/http"
	"strconv"
	"time"
)

const maxRetryAfter = time.Hour

// RetryAfter reads retry-after-ms, and Retry-After in seconds or as a date; 0
// when absent or past, and at most an hour.
func RetryAfter(h http.Header) time.Duration {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil {
		return clampRetry(ms * float64(time.Millisecond))
	}
	value := h.Get("Retry-After")
	if s, err := strconv.ParseFloat(value, 64); err == nil {
		return clampRetry(s * float64(time.Second))
	}
	if at, err := http.ParseTime(value); err == nil {
		return clampRetry(float64(time.Until(at)))
	}
	return 0
}

func clampRetry(ns float64) time.Duration {
	if math.IsNaN(ns) || ns <= 0 {
		return 0
	}
	return time.Duration(min(ns, float64(maxRetryAfter)))
}
