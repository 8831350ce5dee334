// Package sealed encrypts secrets that are kept in the database, such as the
// credentials of upstreams.
package sealed

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// KeySize is the length of a master key and of a data key, in bytes.
const KeySize = 32

var (
	// ErrKey says that another master key sealed the value.
	ErrKey = errors.New("the value was sealed with another master key")
	// ErrCorrupt says that the value was changed, cut, moved to another row, or
	// never sealed.
	ErrCorrupt = errors.New("the sealed value is damaged or belongs to another row")
)

// A sealed value is
//
//	version (1 byte) | id of the master key (8) | data key, sealed | plaintext, sealed
//
// where both sealed parts are AES-256-GCM: nonce (12) | ciphertext | tag (16).
// Both authenticate the header, the table and the row.
const (
	version    = 1
	keyIDSize  = 8
	headerSize = 1 + keyIDSize
	overhead   = 12 + 16
	minSize    = headerSize + overhead + KeySize + overhead
)

// Box seals values with a master key. Each value has a data key of its own, which
// the master key wraps. It is safe for concurrent use.
type Box struct {
	master cipher.AEAD
	header [headerSize]byte
}

// New makes a box with a master key of [KeySize] bytes.
func New(masterKey []byte) (*Box, error) {
	if len(masterKey) != KeySize {
		return nil, fmt.Errorf("the master key must have %d bytes; got %d", KeySize, len(masterKey))
	}
	master, err := aead(masterKey)
	if err != nil {
		return nil, err
	}
	b := &Box{master: master}
	b.header[0] = version
	// The id tells keys apart and nothing about them.
	id := sha256.Sum256(append([]byte("coai master key id\x00"), masterKey...))
	copy(b.header[1:], id[:])
	return b, nil
}

// Seal encrypts plaintext for the row id of a table. The result is 97 bytes
// longer, and another one each time.
func (b *Box) Seal(table, id string, plaintext []byte) ([]byte, error) {
	key := make([]byte, KeySize)
	_, _ = rand.Read(key) // never fails since Go 1.24: it aborts the program instead
	data, err := aead(key)
	if err != nil {
		return nil, err
	}
	aad := b.aad(table, id)
	blob := make([]byte, 0, minSize+len(plaintext))
	blob = append(blob, b.header[:]...)
	blob = b.master.Seal(blob, nil, key, aad)        //nolint:gosec // the cipher makes a random nonce itself
	return data.Seal(blob, nil, plaintext, aad), nil //nolint:gosec // as above
}

// Open decrypts what [Box.Seal] made for the same table and row. It fails with
// [ErrKey] or [ErrCorrupt].
func (b *Box) Open(table, id string, blob []byte) ([]byte, error) {
	if len(blob) < minSize || blob[0] != version {
		return nil, ErrCorrupt
	}
	if string(blob[:headerSize]) != string(b.header[:]) {
		return nil, ErrKey
	}
	aad := b.aad(table, id)
	wrapped, body := blob[headerSize:headerSize+overhead+KeySize], blob[headerSize+overhead+KeySize:]
	key, err := b.master.Open(nil, nil, wrapped, aad)
	if err != nil {
		return nil, ErrCorrupt
	}
	data, err := aead(key)
	if err != nil {
		return nil, err
	}
	plaintext, err := data.Open(nil, nil, body, aad)
	if err != nil {
		return nil, ErrCorrupt
	}
	return plaintext, nil
}

// aad ties a value to its place. Lengths come first, so that no two places give
// the same bytes.
func (b *Box) aad(table, id string) []byte {
	aad := append([]byte(nil), b.header[:]...)
	aad = binary.AppendUvarint(aad, uint64(len(table)))
	aad = append(aad, table...)
	aad = binary.AppendUvarint(aad, uint64(len(id)))
	return append(aad, id...)
}

func aead(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	a, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return a, nil
}
