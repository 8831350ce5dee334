package webhooks

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coaidev/coai/models"
)

// secretBytes is the length of the keys that are made here.
const secretBytes = 32

func newSecret() string {
	var key [secretBytes]byte
	_, _ = rand.Read(key[:]) // never fails since Go 1.24: it aborts the program instead
	return models.WebhookSecretPrefix + base64.StdEncoding.EncodeToString(key[:])
}

// sign sets the headers of Standard Webhooks, with a signature for each secret.
// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#webhook-headers-sending-metadata-to-consumers
func sign(h http.Header, id string, at time.Time, body []byte, secrets []string) error {
	timestamp := strconv.FormatInt(at.Unix(), 10)
	var signatures []string
	for _, secret := range secrets {
		key, ok := models.ParseWebhookSecret(secret)
		if !ok {
			return fmt.Errorf("the secret of the endpoint has an unknown form")
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + timestamp + "."))
		mac.Write(body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	h.Set("webhook-id", id)
	h.Set("webhook-timestamp", timestamp)
	h.Set("webhook-signature", strings.Join(signatures, " "))
	return nil
}

// secrets are those that sign now, the newest first.
func (s *Service) secrets(w *models.Webhook, now time.Time) ([]string, error) {
	secret, err := s.box.Open(sealedSecret, w.ID, w.Secret)
	if err != nil {
		return nil, fmt.Errorf("open the secret of %s: %w", w.ID, err)
	}
	list := []string{string(secret)}
	if w.PreviousExpiresAt != nil && w.PreviousExpiresAt.After(now) {
		previous, err := s.box.Open(sealedSecret, w.ID, w.PreviousSecret)
		if err != nil {
			return nil, fmt.Errorf("open the previous secret of %s: %w", w.ID, err)
		}
		list = append(list, string(previous))
	}
	return list, nil
}
