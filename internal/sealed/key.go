package sealed

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// LoadKey gives the master key: value, when there is one, is its 32 bytes in
// base64 or hexadecimal; else they are read from file, in the same form. A file
// that does not exist is made with a random key, readable by its owner alone;
// when several processes do so at once, all get the same key.
//
// Errors never hold the key.
func LoadKey(value, file string) ([]byte, error) {
	if value = strings.TrimSpace(value); value != "" {
		key, err := parseKey(value)
		if err != nil {
			return nil, fmt.Errorf("read master key: %w", err)
		}
		return key, nil
	}
	if file == "" {
		return nil, errors.New("there is neither a master key nor a file for one")
	}
	key, err := readKey(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err = createKey(file); err == nil {
			key, err = readKey(file)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read master key from %s: %w", file, err)
	}
	return key, nil
}

func readKey(file string) ([]byte, error) {
	b, err := os.ReadFile(file) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, err
	}
	return parseKey(strings.TrimSpace(string(b)))
}

// createKey puts a complete file under the name at once, unless there is one.
func createKey(file string) (err error) {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".key-*") // with mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(tmp.Name())) }()
	key := make([]byte, KeySize)
	_, _ = rand.Read(key) // never fails since Go 1.24: it aborts the program instead
	_, err = tmp.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	// What is sealed with a key that a power cut takes away is lost.
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	// Unlike a rename, a link does not replace the key of a process that was faster.
	if err := os.Link(tmp.Name(), file); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	syncDir(dir)
	return nil
}

// syncDir makes a new name in the folder outlast a power cut, on file systems
// that can.
func syncDir(dir string) {
	d, err := os.Open(dir) //nolint:gosec // the operator names the folder
	if err != nil {
		return
	}
	_ = d.Sync()
	_ = d.Close()
}

func parseKey(s string) ([]byte, error) {
	decoders := []func(string) ([]byte, error){
		hex.DecodeString,
		base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString,
		base64.URLEncoding.DecodeString, base64.RawURLEncoding.DecodeString,
	}
	for _, decode := range decoders {
		if key, err := decode(s); err == nil && len(key) == KeySize {
			return key, nil
		}
	}
	return nil, fmt.Errorf("it must be %d bytes in base64 or hexadecimal, such as 'openssl rand -base64 %d' gives", KeySize, KeySize)
}
