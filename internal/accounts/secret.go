package accounts

import (
	"crypto/rand"
	"crypto/sha256"
	"hash/crc32"
	"math/big"
	"strings"
)

// KeyPattern matches the secrets of API keys, for secret scanners: sk-coai-,
// 43 base62 digits of 32 random bytes, and 6 base62 digits of the CRC-32 (IEEE)
// of all that precedes. The digits are 0-9, a-z, A-Z, in this order, the most
// significant first.
const KeyPattern = `sk-coai-[0-9A-Za-z]{49}`

const (
	keyPrefix   = "sk-coai-"
	randomBytes = 32
	randomLen   = 43
	checksumLen = 6
	keyLen      = len(keyPrefix) + randomLen + checksumLen

	base62 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// digest is the SHA-256 of a secret: all of it that is kept.
type digest [sha256.Size]byte

// newSecret makes the secret of an API key.
func newSecret() string {
	var b [randomBytes]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24: it aborts the program instead
	digits := new(big.Int).SetBytes(b[:]).Text(len(base62))
	body := keyPrefix + strings.Repeat("0", randomLen-len(digits)) + digits
	sum := checksum(body)
	return body + string(sum[:])
}

// parseKey gives the digest of a secret that has the form and the checksum of
// an API key: typing errors are found without asking the database.
func parseKey(secret string) (digest, bool) {
	if len(secret) != keyLen || secret[:len(keyPrefix)] != keyPrefix {
		return digest{}, false
	}
	for i := len(keyPrefix); i < keyLen; i++ {
		if c := secret[i]; (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return digest{}, false
		}
	}
	sum := checksum(secret[:keyLen-checksumLen])
	if string(sum[:]) != secret[keyLen-checksumLen:] {
		return digest{}, false
	}
	return sha256.Sum256([]byte(secret)), true
}

func checksum(body string) (digits [checksumLen]byte) {
	n := crc32.ChecksumIEEE([]byte(body))
	for i := checksumLen - 1; i >= 0; i-- {
		digits[i] = base62[n%uint32(len(base62))]
		n /= uint32(len(base62))
	}
	return digits
}

// display is what may be shown of a secret.
func display(prefix, secret string) string { return prefix + "…" + secret[len(secret)-4:] }
