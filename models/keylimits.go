package models

// KeyLimits hold an API key to less than its account may use; nil is no limit.
type KeyLimits struct {
	RPM         *int `json:"rpm"`         // requests in a clock minute
	TPM         *int `json:"tpm"`         // tokens in a clock minute, in and out
	Concurrency *int `json:"concurrency"` // requests to models at a time
}

// maxLimit bounds limits of requests and tokens.
const maxLimit = 1_000_000_000

func (l *KeyLimits) validate(at string) error {
	if l == nil {
		return nil
	}
	for _, f := range []struct {
		param string
		v     *int
	}{{".rpm", l.RPM}, {".tpm", l.TPM}, {".concurrency", l.Concurrency}} {
		if f.v != nil && (*f.v < 1 || *f.v > maxLimit) {
			return Invalid(at+f.param, "'%s' must be between 1 and %d, or null for no limit.", at+f.param, maxLimit)
		}
	}
	return nil
}

// ViewerLimits are what a request is held to beside the windows of the plan; 0 is
// no limit.
type ViewerLimits struct {
	RPM, TPM    int // of the key, in a clock minute
	Concurrency int // of the key: requests to models at a time
	Account     int // of the plan: the same over all keys of the account
}

// NewViewerLimits gives what a key and the account's plan allow; nil when that is
// everything.
func NewViewerLimits(key KeyLimits, account *int) *ViewerLimits {
	l := ViewerLimits{orZero(key.RPM), orZero(key.TPM), orZero(key.Concurrency), orZero(account)}
	if l == (ViewerLimits{}) {
		return nil
	}
	return &l
}

func orZero(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}

// OfKey says whether the key itself has limits.
func (l *ViewerLimits) OfKey() bool {
	return l != nil && (l.RPM > 0 || l.TPM > 0 || l.Concurrency > 0)
}

// PerMinute says whether the key has a limit of requests or tokens in a minute.
func (l *ViewerLimits) PerMinute() bool { return l != nil && (l.RPM > 0 || l.TPM > 0) }

// Admission says whether a request to a model must be admitted by them.
func (l *ViewerLimits) Admission() bool {
	return l != nil && (l.TPM > 0 || l.Concurrency > 0 || l.Account > 0)
}
