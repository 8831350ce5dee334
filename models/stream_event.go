package models

// StreamEvent is one event of an answer that is streamed in Anthropic's
// language or in that of OpenAI's responses, or (with Err set) the failure that
// ends the stream.
type StreamEvent struct {
	Sequence int    // from 0, one more for each event of the stream
	Type     string // the event's name, such as content_block_delta
	Data     JSON   // the event in its language's own shape; a failure may have one too
	Usage    *Usage // the settled usage, on the last event of a stream that succeeded
	Err      *Error // terminal: nothing follows

	ChannelID string // the channel that answers; set for admins only

	Cache *CacheStatus // nil: the key uses no cache
}

// FailedEvent ends a stream with a failure.
func FailedEvent(e *Error) *StreamEvent { return &StreamEvent{Err: e} }

// Name is the event's name on the wire.
func (e *StreamEvent) Name() string { return e.Type }

// JSON is the event's data.
func (e *StreamEvent) JSON() ([]byte, error) { return e.Data, nil }

// Failure is the failure that ended the stream, nil for an event.
func (e *StreamEvent) Failure() *Error { return e.Err }

// Channel is the channel that answers, for those who may know.
func (e *StreamEvent) Channel() string { return e.ChannelID }

// CacheStatus says whether the stream was kept, nil when the key uses no cache.
func (e *StreamEvent) CacheStatus() *CacheStatus { return e.Cache }

// Error is the failure as GraphQL shows it.
func (e *StreamEvent) Error() *StreamError { return e.Err.shown() }

// Raw is the event in its language's own shape; nil for a failure that the
// language has no event for.
func (e *StreamEvent) Raw() *JSON {
	if len(e.Data) == 0 {
		return nil
	}
	return &e.Data
}
