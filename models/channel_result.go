package models

import (
	"encoding/json"
	"fmt"
)

// A result is also an element of the stream of a test of several models.

// JSON is the result as REST shows it.
func (r *TestChannelResult) JSON() ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode test result: %w", err)
	}
	return b, nil
}

// Name is that of its event: none.
func (r *TestChannelResult) Name() string { return "" }

// Failure is why the test itself ended; nil for an outcome.
func (r *TestChannelResult) Failure() *Error { return r.Err }

// Channel is for the header that names who answered: none.
func (r *TestChannelResult) Channel() string { return "" }

// CacheStatus is for the header of the response cache: none.
func (r *TestChannelResult) CacheStatus() *CacheStatus { return nil }
