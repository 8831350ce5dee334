package sealed_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/sealed"
)

func box(t testing.TB, fill byte) *sealed.Box {
	t.Helper()
	b, err := sealed.New(bytes.Repeat([]byte{fill}, sealed.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func seal(t testing.TB, b *sealed.Box, table, id, plaintext string) []byte {
	t.Helper()
	blob, err := b.Seal(table, id, []byte(plaintext))
	if err != nil {
		t.Fatal(err)
	}
	return blob
}

func TestOpenGivesBackWhatWasSealed(t *testing.T) {
	for name, plaintext := range map[string]string{
		"key":   "sk-proj-0123456789",
		"empty": "",
		"zeros": "\x00\x00\x00",
		"large": strings.Repeat("x", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			b := box(t, 1)
			blob := seal(t, b, "channels", "ch_1", plaintext)
			if plaintext != "" && bytes.Contains(blob, []byte(plaintext)) && len(plaintext) > 3 {
				t.Error("the plaintext is readable")
			}
			if got := len(blob) - len(plaintext); got != 97 {
				t.Errorf("overhead = %d bytes; want 97", got)
			}
			// Another box of the same key, as after a restart.
			got, err := box(t, 1).Open("channels", "ch_1", blob)
			if err != nil || string(got) != plaintext {
				t.Errorf("Open = %.20q, %v", got, err)
			}
		})
	}
}

func TestEachSealDiffers(t *testing.T) {
	b := box(t, 1)
	first, second := seal(t, b, "channels", "ch_1", "secret"), seal(t, b, "channels", "ch_1", "secret")
	const header = 9
	if !bytes.Equal(first[:header], second[:header]) {
		t.Error("the headers of one key differ")
	}
	// Neither the wrapped data key nor the body may repeat.
	if bytes.Equal(first[header:header+60], second[header:header+60]) || bytes.Equal(first[header+60:], second[header+60:]) {
		t.Error("two seals of the same value share bytes")
	}
}

func TestOpenRefusesAnotherPlace(t *testing.T) {
	b := box(t, 1)
	blob := seal(t, b, "channels", "ch_1", "secret")
	for _, place := range [][2]string{
		{"channels", "ch_2"}, {"webhooks", "ch_1"}, {"channelsc", "h_1"}, {"channel", "sch_1"}, {"", "channelsch_1"}, {"", ""},
	} {
		if got, err := b.Open(place[0], place[1], blob); !errors.Is(err, sealed.ErrCorrupt) || got != nil {
			t.Errorf("Open at %q = %q, %v; want ErrCorrupt", place, got, err)
		}
	}
}

func TestOpenRefusesAnotherKey(t *testing.T) {
	blob := seal(t, box(t, 1), "channels", "ch_1", "secret")
	if got, err := box(t, 2).Open("channels", "ch_1", blob); !errors.Is(err, sealed.ErrKey) || got != nil {
		t.Errorf("Open = %q, %v; want ErrKey", got, err)
	}
}

func TestOpenRefusesEachChangedBit(t *testing.T) {
	b := box(t, 1)
	blob := seal(t, b, "channels", "ch_1", "secret")
	for i := range len(blob) * 8 {
		changed := bytes.Clone(blob)
		changed[i/8] ^= 1 << (i % 8)
		got, err := b.Open("channels", "ch_1", changed)
		if got != nil || !errors.Is(err, sealed.ErrCorrupt) && !errors.Is(err, sealed.ErrKey) {
			t.Fatalf("with bit %d changed Open = %q, %v", i, got, err)
		}
	}
}

func TestOpenRefusesEachCut(t *testing.T) {
	b := box(t, 1)
	blob := seal(t, b, "channels", "ch_1", "secret")
	for n := range blob {
		if _, err := b.Open("channels", "ch_1", blob[:n]); !errors.Is(err, sealed.ErrCorrupt) {
			t.Fatalf("the first %d bytes: %v; want ErrCorrupt", n, err)
		}
	}
	if _, err := b.Open("channels", "ch_1", append(blob, 0)); !errors.Is(err, sealed.ErrCorrupt) {
		t.Errorf("one byte more: %v; want ErrCorrupt", err)
	}
}

// The parts of two values must not be put together to a third.
func TestOpenRefusesSplicedParts(t *testing.T) {
	b := box(t, 1)
	first, second := seal(t, b, "channels", "ch_1", "secret"), seal(t, b, "channels", "ch_1", "other")
	spliced := append(bytes.Clone(first[:69]), second[69:]...)
	if _, err := b.Open("channels", "ch_1", spliced); !errors.Is(err, sealed.ErrCorrupt) {
		t.Errorf("Open = %v; want ErrCorrupt", err)
	}
}

func TestNewRefusesKeysOfAnotherLength(t *testing.T) {
	for _, n := range []int{0, 16, 31, 33, 64} {
		if _, err := sealed.New(make([]byte, n)); err == nil {
			t.Errorf("New took %d bytes", n)
		}
	}
}

func FuzzOpen(f *testing.F) {
	b := box(f, 1)
	valid := seal(f, b, "channels", "ch_1", "secret")
	f.Add([]byte{})
	f.Add([]byte{1})
	f.Add(valid)
	f.Add(valid[:69])
	f.Add(append(bytes.Clone(valid[:9]), make([]byte, 200)...))
	f.Fuzz(func(t *testing.T, blob []byte) {
		got, err := b.Open("channels", "ch_1", blob)
		if err == nil {
			// Only the seeds were sealed, each time with other random bytes.
			if string(got) != "secret" || len(blob) != len(valid) {
				t.Errorf("Open of foreign bytes = %q", got)
			}
			return
		}
		if got != nil || !errors.Is(err, sealed.ErrCorrupt) && !errors.Is(err, sealed.ErrKey) {
			t.Errorf("Open of foreign bytes = %q, %v", got, err)
		}
	})
}
