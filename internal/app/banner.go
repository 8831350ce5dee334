package app

import (
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/coaidev/coai/internal/accounts"
)

// baseURL is how a person on this machine reaches a listener.
func baseURL(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "http://" + addr.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// printBanner tells a person where the product is, and, when a first start made
// an administrator, the key and what to try with it.
func printBanner(w io.Writer, url string, first *accounts.Bootstrap) {
	if first == nil || first.Secret == "" { // who set a fixed key knows it
		_, _ = fmt.Fprintf(w, "CoAI listens on %s\n", url)
		return
	}
	_, _ = io.WriteString(w, strings.NewReplacer("URL", url, "KEY", first.Secret, "EMAIL", first.User.Email).Replace(firstBanner))
}

// printKey tells the key of a first start that got no further: it is shown
// nowhere else.
func printKey(w io.Writer, first *accounts.Bootstrap) {
	if first == nil || first.Secret == "" {
		return
	}
	_, _ = fmt.Fprintf(w, "The administrator %s was made. API key (shown only now): %s\n", first.User.Email, first.Secret)
}

const firstBanner = `CoAI listens on URL

  Administrator  EMAIL
  API key        KEY
                 (shown only now; only its hash is kept)

Ask the built-in echo model, over REST:

  curl URL/v1/chat/completions -H 'Authorization: Bearer KEY' -H 'Content-Type: application/json' -d '{"model":"echo","messages":[{"role":"user","content":"Hello"}]}'

The same, streamed:

  curl -N URL/v1/chat/completions -H 'Authorization: Bearer KEY' -H 'Content-Type: application/json' -d '{"model":"echo","stream":true,"messages":[{"role":"user","content":"Hello"}]}'

Over GraphQL:

  curl URL/graphql -H 'Authorization: Bearer KEY' -H 'Content-Type: application/json' -d '{"query":"mutation { createChatCompletion(input: {model: \"echo\", messages: [{role: USER, content: {text: \"Hello\"}}]}) { chatCompletion { choices { message { content } } } } }"}'

`
