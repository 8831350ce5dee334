package storage

import (
	"strings"
	"unicode/utf8"
)

// longestID is more than any id that the product makes has.
const longestID = 100

// Storable says whether the databases can hold the text: what they cannot hold,
// they have no row for.
func Storable(text string) bool { return utf8.ValidString(text) && !strings.ContainsRune(text, 0) }

// StorableID holds for what an id can be; databases stumble over the rest.
func StorableID(id string) bool { return id != "" && len(id) <= longestID && Storable(id) }
