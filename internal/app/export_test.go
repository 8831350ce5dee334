package app

// OllamaURL is ollamaURL, for tests.
func OllamaURL(host string) string { return ollamaURL(host) }
