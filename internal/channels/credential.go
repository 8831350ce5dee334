package channels

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

const (
	// A refused credential rests, longer each time in a row: somebody has to mend
	// it, and nobody tells us when.
	refusedRest, maxRefusedRest = time.Minute, 15 * time.Minute
	// A limited one cools down for as long as the upstream says, or for this,
	// longer each time in a row.
	limitedRest, maxLimitedRest = 2 * time.Second, time.Minute
	// maxCooldown bounds an upstream's Retry-After.
	maxCooldown = 2 * time.Minute
)

// credential is one of a channel's credentials, with the provider that uses it.
// All providers of a channel share one transport.
type credential struct {
	place    int // in the channel's list
	provider providers.Provider
	until    atomic.Int64 // Unix nanoseconds; it rests before

	mu      sync.Mutex
	refused int       // times in a row
	limited int       // times in a row
	changed time.Time // when until was last set, by whichever process
	broken  bool      // it rests because it was refused, not because of a limit
}

// rests says until when the credential is not to be used.
func (c *credential) rests(now time.Time) (until time.Time, rests bool) {
	n := c.until.Load()
	if n <= now.UnixNano() {
		return time.Time{}, false
	}
	return time.Unix(0, n), true
}

// rest puts the credential to rest after a refusal or a limit.
func (c *credential) rest(e *providers.Error, now time.Time) edge {
	c.mu.Lock()
	defer c.mu.Unlock()
	var pause time.Duration
	if c.broken = e.Class == providers.Credential; c.broken {
		pause = doubled(refusedRest, c.refused, maxRefusedRest)
		c.refused++
	} else {
		pause = doubled(limitedRest, c.limited, maxLimitedRest)
		if e.Retry > 0 {
			pause = min(e.Retry, maxCooldown)
		}
		c.limited++
	}
	until := now.Add(pause)
	c.until.Store(until.UnixNano())
	c.changed = now
	return edge{credential: c.place, state: stateResting, broken: c.broken, until: until, at: now, message: e.Message}
}

// works notes that the upstream took the credential.
func (c *credential) works() {
	c.mu.Lock()
	c.refused, c.limited = 0, 0
	c.mu.Unlock()
}

// follow takes over what another process found out later than this one.
func (c *credential) follow(s *state) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.ChangedAt.After(c.changed) {
		return
	}
	c.changed, c.broken = s.ChangedAt, s.State == stateRefused
	if s.RestsUntil == nil {
		c.until.Store(0)
		c.refused, c.limited = 0, 0
		return
	}
	c.until.Store(s.RestsUntil.UnixNano())
}

func (c *credential) reset(now time.Time) {
	c.mu.Lock()
	c.until.Store(0)
	c.refused, c.limited, c.changed = 0, 0, now
	c.mu.Unlock()
}

// doubled is first·2ⁿ, at most most.
func doubled(first time.Duration, n int, most time.Duration) time.Duration {
	for ; n > 0 && first < most; n-- {
		first *= 2
	}
	return min(first, most)
}

// usable gives the next credential that neither rests nor is in except, in turn.
// Without one it says why, and until when that is so.
func (u *upstream) usable(now time.Time, except []*credential) (*credential, refusal) {
	n := len(u.credentials)
	start := uint64(0)
	if n > 1 {
		start = u.turn.Add(1)
	}
	for i := range n {
		c := u.credentials[(start+uint64(i))%uint64(n)]
		if _, rests := c.rests(now); !rests && !slices.Contains(except, c) {
			return c, refusal{}
		}
	}
	return nil, u.resting(now)
}

// resting says why no credential is usable, and until when; the zero value when
// one is.
func (u *upstream) resting(now time.Time) refusal {
	no := refusal{reason: models.ReasonBrokenCredential}
	for _, c := range u.credentials {
		until, rests := c.rests(now)
		if !rests {
			return refusal{}
		}
		c.mu.Lock()
		broken := c.broken
		c.mu.Unlock()
		if !broken {
			no.reason = models.ReasonCooldown
		}
		if no.until.IsZero() || until.Before(no.until) {
			no.until = until
		}
	}
	return no
}

// others says whether the channel has a usable credential beside c.
func (u *upstream) others(c *credential, now time.Time) bool {
	for _, other := range u.credentials {
		if _, rests := other.rests(now); other != c && !rests {
			return true
		}
	}
	return false
}

// Credentials are sealed together, as the lines of one text: they hold no line
// breaks themselves.
const credentialSeparator = "\n"

// seal puts the credentials into the row, encrypted; none removes them.
func (r *Registry) seal(c *models.Channel, credentials []string) error {
	c.Sealed, c.KeyHint, c.KeyHints = nil, nil, []string{}
	if len(credentials) == 0 {
		return nil
	}
	blob, err := r.box.Seal("channels", c.ID, []byte(strings.Join(credentials, credentialSeparator)))
	if err != nil {
		return fmt.Errorf("encrypt credentials: %w", err)
	}
	for _, s := range credentials {
		hint := "****"
		if len(s) >= 12 {
			hint += s[len(s)-4:]
		}
		c.KeyHints = append(c.KeyHints, hint)
	}
	c.Sealed, c.KeyHint = blob, &c.KeyHints[0]
	return nil
}

// open decrypts the channel's credentials; without any it gives an empty one.
func (r *Registry) open(row *models.Channel) ([]string, error) {
	if len(row.Sealed) == 0 {
		return []string{""}, nil
	}
	b, err := r.box.Open("channels", row.ID, row.Sealed)
	if err != nil {
		return nil, fmt.Errorf("the credential cannot be decrypted, set it again or restore the master key: %w", err)
	}
	return strings.Split(string(b), credentialSeparator), nil
}
