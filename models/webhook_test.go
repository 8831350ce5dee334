package models_test

import (
	"strings"
	"testing"
	"time"

	"github.com/coaidev/coai/models"
)

func TestFirstID(t *testing.T) {
	t.Parallel()
	before := time.Now().Add(-2 * time.Millisecond)
	id := models.NewID(models.DeliveryPrefix)
	after := time.Now().Add(2 * time.Millisecond)
	if first := models.FirstID(models.DeliveryPrefix, before); first >= id || len(first) != len(id) {
		t.Errorf("%s is made before %s", id, first)
	}
	if first := models.FirstID(models.DeliveryPrefix, after); first <= id {
		t.Errorf("%s is made after %s", id, first)
	}
	if first := models.FirstID("x_", time.Unix(-5, 0)); first != "x_"+strings.Repeat("0", 26) {
		t.Errorf("long ago is %s", first)
	}
}
