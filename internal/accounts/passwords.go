package accounts

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/sync/semaphore"
	"golang.org/x/text/unicode/norm"

	"github.com/coaidev/coai/models"
)

// The cost of a password's hash, as OWASP recommends: 19 MiB and two passes.
// https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#argon2id
const (
	hashMemory  = 19 * 1024 // KiB
	hashPasses  = 2
	hashThreads = 1
	hashLen     = 32
	saltLen     = 16

	// maxHashes is how many are made at a time, on machines that have the
	// processors: together they take 76 MiB.
	maxHashes = 4
	// hashPatience is how long one waits for its turn.
	hashPatience = 10 * time.Second
)

// passwords hashes and compares passwords, a few at a time.
type passwords struct {
	turns *semaphore.Weighted
	made  *atomic.Int64 // how many hashes were made
}

func newPasswords() passwords {
	n := max(1, min(maxHashes, runtime.GOMAXPROCS(0)))
	return passwords{turns: semaphore.NewWeighted(int64(n)), made: new(atomic.Int64)}
}

// phc is a hash with all that it takes to make it again.
// https://github.com/P-H-C/phc-string-format/blob/master/phc-sf-spec.md
type phc struct {
	memory, passes uint32
	threads        uint8
	salt, key      []byte
}

func newHash() phc {
	h := phc{memory: hashMemory, passes: hashPasses, threads: hashThreads, salt: make([]byte, saltLen), key: make([]byte, hashLen)}
	_, _ = rand.Read(h.salt) // never fails since Go 1.24: it aborts the program instead
	return h
}

func (h phc) String() string {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.passes, h.threads, b64(h.salt), b64(h.key))
}

// present says whether the hash costs what new ones do.
func (h phc) present() bool {
	return h.memory == hashMemory && h.passes == hashPasses && h.threads == hashThreads && len(h.salt) == saltLen && len(h.key) == hashLen
}

var errHash = errors.New("the stored hash of a password cannot be read")

// parseHash reads a stored hash. What would take unreasonably much to compare is
// none.
func parseHash(s string) (h phc, err error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return h, errHash
	}
	params := strings.Split(parts[3], ",")
	if len(params) != 3 {
		return h, errHash
	}
	var n [3]uint64
	for i, name := range []string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(params[i], name)
		if n[i], err = strconv.ParseUint(digits, 10, 32); err != nil || !ok {
			return h, errHash
		}
	}
	const mostMemory, mostPasses, mostThreads, longest = 1 << 20, 64, 64, 128
	if n[0] < 8 || n[0] > mostMemory || n[1] < 1 || n[1] > mostPasses || n[2] < 1 || n[2] > mostThreads {
		return h, errHash
	}
	h.memory, h.passes, h.threads = uint32(n[0]), uint32(n[1]), uint8(n[2])
	var errSalt, errKey error
	h.salt, errSalt = base64.RawStdEncoding.Strict().DecodeString(parts[4])
	h.key, errKey = base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if errSalt != nil || errKey != nil || len(h.salt) < 8 || len(h.salt) > longest || len(h.key) < 16 || len(h.key) > longest {
		return h, errHash
	}
	return h, nil
}

// hash gives the hash of a new password.
func (p passwords) hash(ctx context.Context, password string) (string, error) {
	h := newHash()
	var err error
	h.key, err = p.derive(ctx, h, password)
	return h.String(), err
}

// matches compares a password with a stored hash, and says whether that was made
// at another cost than today's. Without a stored hash it takes the same time, and
// the answer is no.
func (p passwords) matches(ctx context.Context, password string, stored *string) (ok, stale bool, err error) {
	h := newHash()
	if stored != nil {
		if h, err = parseHash(*stored); err != nil {
			return false, false, err
		}
	}
	key, err := p.derive(ctx, h, password)
	if err != nil {
		return false, false, err
	}
	return subtle.ConstantTimeCompare(key, h.key) == 1 && stored != nil, !h.present(), nil
}

// derive makes a hash when it is its turn.
func (p passwords) derive(ctx context.Context, h phc, password string) ([]byte, error) {
	wait, cancel := context.WithTimeout(ctx, hashPatience)
	defer cancel()
	if err := p.turns.Acquire(wait, 1); err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("wait to hash a password: %w", ctx.Err())
		}
		e := models.Unavailable(models.CodeOverloaded, "Too many people sign in at this moment. Try again.")
		e.Retry = time.Second
		return nil, e
	}
	defer p.turns.Release(1)
	p.made.Add(1)
	// What keyboards compose in different ways is made one.
	return argon2.IDKey([]byte(norm.NFC.String(password)), h.salt, h.passes, h.memory, h.threads, uint32(len(h.key))), nil
}
