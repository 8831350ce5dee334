package dialect

import (
	"errors"

	"github.com/coaidev/coai/models"
)

// Errors of upstreams whose calls cannot be written one after the other.
var (
	ErrInterleaved = errors.New("the upstream mixes the arguments of several calls")
	ErrManyCalls   = errors.New("the upstream makes too many calls")
	ErrNameless    = errors.New("the upstream made a call without a name")
)

// maxCalls is how many calls one answer may make.
const maxCalls = 1024

// Calls puts the fragments of tool calls together. The languages below write
// one call after the other, so a call ends when something else begins.
type Calls struct {
	byIndex map[int]*Call
	open    *Call
}

// Call is a tool call on its way.
type Call struct {
	ID, Name string
	held     string // arguments that came before the name
	begun    bool
}

// Add takes a fragment. It gives nil while the call's name is unknown; begins
// says that the call can be written from now on, and arguments are what to add
// to it. A fragment for a call that has ended is an error.
func (cs *Calls) Add(d *models.ToolCall) (c *Call, begins bool, arguments string, err error) {
	if cs.byIndex == nil {
		cs.byIndex = map[int]*Call{}
	}
	at := 0
	if d.Index != nil {
		at = *d.Index
	}
	if c = cs.byIndex[at]; c == nil {
		if len(cs.byIndex) == maxCalls {
			return nil, false, "", ErrManyCalls
		}
		c = &Call{}
		cs.byIndex[at] = c
	}
	if c.ID == "" && d.ID != nil {
		c.ID = *d.ID
	}
	if f := d.Function; f != nil {
		if c.Name == "" && f.Name != nil {
			c.Name = *f.Name
		}
		if f.Arguments != nil {
			arguments = *f.Arguments
		}
	}
	switch {
	case c.begun && c == cs.open:
		return c, false, arguments, nil
	case c.begun && arguments == "": // says nothing new
		return nil, false, "", nil
	case c.begun:
		return nil, false, "", ErrInterleaved
	case c.Name == "":
		c.held += arguments
		return nil, false, "", nil
	}
	arguments, c.held = c.held+arguments, ""
	c.begun, cs.open = true, c
	return c, true, arguments, nil
}

// Close ends the call that is open.
func (cs *Calls) Close() { cs.open = nil }

// Any says whether a call has begun.
func (cs *Calls) Any() bool { return len(cs.byIndex) > 0 }

// Check fails when a call never got its name.
func (cs *Calls) Check() error {
	for _, c := range cs.byIndex {
		if !c.begun {
			return ErrNameless
		}
	}
	return nil
}
