package sealed_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/coaidev/coai/internal/sealed"
)

func TestLoadKeyFromValue(t *testing.T) {
	key := make([]byte, sealed.KeySize)
	for i := range key {
		key[i] = byte(255 - i) // with bytes that the two alphabets of base64 spell differently
	}
	for name, value := range map[string]string{
		"hex":            hex.EncodeToString(key),
		"HEX":            strings.ToUpper(hex.EncodeToString(key)),
		"base64":         base64.StdEncoding.EncodeToString(key),
		"base64 no pad":  base64.RawStdEncoding.EncodeToString(key),
		"base64url":      base64.URLEncoding.EncodeToString(key),
		"base64url raw":  base64.RawURLEncoding.EncodeToString(key),
		"spaces, a line": "  " + base64.StdEncoding.EncodeToString(key) + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			unused := filepath.Join(t.TempDir(), "key")
			got, err := sealed.LoadKey(value, unused)
			if err != nil || !bytes.Equal(got, key) {
				t.Errorf("LoadKey = %x, %v", got, err)
			}
			if _, err := os.Stat(unused); err == nil {
				t.Error("a file was made although the key was given")
			}
		})
	}
}

func TestLoadKeyRefusesOtherValues(t *testing.T) {
	for name, value := range map[string]string{
		"short hex":    strings.Repeat("ab", 31),
		"short base64": base64.StdEncoding.EncodeToString(make([]byte, 16)),
		"long base64":  base64.StdEncoding.EncodeToString(make([]byte, 33)),
		"passphrase":   "correct horse battery staple xyz",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := sealed.LoadKey(value, "")
			if err == nil {
				t.Fatal("taken")
			}
			if strings.Contains(err.Error(), value) {
				t.Errorf("the error shows the value: %v", err)
			}
		})
	}
	if _, err := sealed.LoadKey("", ""); err == nil {
		t.Error("neither key nor file, and no error")
	}
}

func TestLoadKeyMakesAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data", "master.key")
	key, err := sealed.LoadKey("", file)
	if err != nil || len(key) != sealed.KeySize {
		t.Fatalf("LoadKey = %d bytes, %v", len(key), err)
	}
	again, err := sealed.LoadKey("", file)
	if err != nil || !bytes.Equal(again, key) {
		t.Errorf("the second start gives another key, or %v", err)
	}
	for path, want := range map[string]fs.FileMode{file: 0o600, filepath.Dir(file): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want mode %v", path, info.Mode(), err, want)
		}
	}
	if files, err := os.ReadDir(filepath.Dir(file)); err != nil || len(files) != 1 {
		t.Errorf("%v are left, %v; want the key alone", files, err)
	}
}

func TestLoadKeyReadsWhatAPersonWrote(t *testing.T) {
	want := bytes.Repeat([]byte{7}, sealed.KeySize)
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(hex.EncodeToString(want)), 0o400); err != nil {
		t.Fatal(err)
	}
	if got, err := sealed.LoadKey("", file); err != nil || !bytes.Equal(got, want) {
		t.Errorf("LoadKey = %x, %v", got, err)
	}
}

func TestLoadKeyKeepsADamagedFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sealed.LoadKey("", file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("LoadKey = %v; want an error that names the file", err)
	}
	if b, err := os.ReadFile(file); err != nil || len(b) != 0 {
		t.Errorf("the file was replaced: %q, %v", b, err)
	}
}

func TestLoadKeyGivesAllTheSameWhenAllStartAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data", "key")
	keys := make([][]byte, 32)
	errs := make([]error, len(keys))
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range keys {
		wg.Go(func() {
			<-start
			keys[i], errs[i] = sealed.LoadKey("", file)
		})
	}
	close(start)
	wg.Wait()
	for i, key := range keys {
		if errs[i] != nil || !bytes.Equal(key, keys[0]) {
			t.Fatalf("start %d has another key than start 0, or %v", i, errs[i])
		}
	}
}
