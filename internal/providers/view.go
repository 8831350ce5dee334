package providers

import "unsafe"

// View is b as a string without a copy, for parsers that take strings. Neither it nor
// any part of it may be used after b changes.
func View(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b)) //nolint:gosec // see the comment
}
