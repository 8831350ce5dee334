package coaitest_test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stripe/stripe-go/v85"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/models"
)

// stripeMock runs Stripe's own mock server, which checks what it is asked against
// Stripe's description of its API, and gives its address.
func stripeMock(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "stripe-mock")
	build := exec.CommandContext(t.Context(), "go", "build", "-modfile=.ci/tools.mod", "-o", program, "github.com/stripe/stripe-mock")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		if bytes.Contains(out, []byte("dial tcp")) {
			t.Skipf("Stripe's mock server cannot be had without a network: %s", out)
		}
		t.Fatalf("build stripe-mock: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it is closed at once: a free port
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	mock := exec.CommandContext(t.Context(), program, "-http-addr", addr) //nolint:gosec // built above
	if err := mock.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mock.Process.Kill(); _ = mock.Wait() })
	coaitest.Eventually(t, "Stripe's mock server", func() bool {
		conn, err := net.Dial("tcp", addr) //nolint:noctx // to this machine
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return "http://" + addr
}

func TestPaymentsThroughStripe(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{},
		"COAI_STRIPE_SECRET_KEY=sk_test_123", "COAI_STRIPE_WEBHOOK_SECRET=whsec_test", "COAI_STRIPE_PRICES=pro=price_1",
		"COAI_STRIPE_URL="+stripeMock(t))
	key := p.OtherUserKey("payer@example.com", models.CreateAPIKeyInput{Name: "test"})
	pages := object{"success_url": "https://app.example.com/paid", "cancel_url": "https://app.example.com/"}
	with := func(more object) object {
		for k, v := range pages {
			more[k] = v
		}
		return more
	}

	var checkout struct {
		URL     string
		Payment struct {
			ID, Status, Kind string
			UserID           string `json:"user_id"`
		}
	}
	p.Do("POST", "/v1/payments/checkout", key, with(object{"amount": "12.34"})).JSON(t, &checkout)
	if checkout.URL == "" || checkout.Payment.Status != "pending" {
		t.Fatalf("checkout = %+v", checkout)
	}
	send := func(id, kind, object string) *coaitest.Response {
		payload := fmt.Sprintf(`{"id":%q,"object":"event","type":%q,"created":1700000000,"data":{"object":%s}}`, id, kind, object)
		signed := stripe.GenerateTestSignedPayload(&stripe.UnsignedPayload{Payload: []byte(payload), Secret: "whsec_test"})
		return p.Do("POST", "/v1/payments/stripe/webhook", "", payload, "Stripe-Signature", signed.Header)
	}
	paid := fmt.Sprintf(`{"object":"checkout.session","customer":"cus_1","payment_status":"paid","metadata":{"coai_payment":%q}}`, checkout.Payment.ID)
	for range 2 {
		if res := send("evt_1", "checkout.session.completed", paid); res.Status != http.StatusOK || !strings.Contains(string(res.Body), `"received":true`) {
			t.Errorf("event: %d %s", res.Status, res.Body)
		}
	}
	var me struct {
		Balance struct{ Value float64 }
	}
	if p.Do("GET", "/v1/users/me", key, nil).JSON(t, &me); me.Balance.Value != 12.34 {
		t.Errorf("balance = %v", me.Balance.Value)
	}
	var list struct{ Data []struct{ ID, Status string } }
	if p.Do("GET", "/v1/payments?status=succeeded", key, nil).JSON(t, &list); len(list.Data) != 1 || list.Data[0].ID != checkout.Payment.ID {
		t.Errorf("payments = %+v", list)
	}
	stranger := p.OtherUserKey("stranger@example.com", models.CreateAPIKeyInput{Name: "test"})
	if p.Do("GET", "/v1/payments?user_id="+checkout.Payment.UserID, stranger, nil).JSON(t, &list); len(list.Data) != 0 {
		t.Errorf("a stranger sees %+v", list)
	}
	var portal struct{ URL string }
	if p.Do("POST", "/v1/payments/portal", key, object{"return_url": "https://app.example.com/"}).JSON(t, &portal); portal.URL == "" {
		t.Error("no portal")
	}
	if p.Do("POST", "/v1/payments/checkout", key, with(object{"tier": "pro"})).JSON(t, &checkout); checkout.Payment.Kind != "plan" || checkout.URL == "" {
		t.Errorf("subscription = %+v", checkout)
	}

	for name, c := range map[string]struct {
		method, path, key string
		body              any
		status            int
		param             string
	}{
		"neither":       {"POST", "/v1/payments/checkout", key, with(object{}), 400, "amount"},
		"half a cent":   {"POST", "/v1/payments/checkout", key, with(object{"amount": "1.005"}), 400, "amount"},
		"no such price": {"POST", "/v1/payments/checkout", key, with(object{"tier": "enterprise"}), 400, "tier"},
		"no page":       {"POST", "/v1/payments/checkout", key, object{"amount": 5}, 400, "success_url"},
		"a script":      {"POST", "/v1/payments/checkout", key, object{"amount": 5, "success_url": "javascript:alert(1)"}, 400, "success_url"},
		"no customer":   {"POST", "/v1/payments/portal", coaitest.AdminKey, object{"return_url": "https://app.example.com/"}, 409, ""},
		"by a user":     {"POST", "/v1/payments", key, object{"user_id": "x", "amount": 5}, 403, ""},
		"forged":        {"POST", "/v1/payments/stripe/webhook", "", object{"id": "evt_2"}, 400, "stripe-signature"},
		"status":        {"GET", "/v1/payments?status=paid", key, nil, 400, "status"},
		"nobody's":      {"GET", "/v1/payments/pay_x", key, nil, 404, "id"},
	} {
		res := p.Do(c.method, c.path, c.key, c.body)
		if e := res.Error(t); res.Status != c.status || c.param != "" && (e.Param == nil || *e.Param != c.param) {
			t.Errorf("%s: %d %s, want %d %s", name, res.Status, res.Body, c.status, c.param)
		}
	}

	var made struct {
		Data []struct{ ID, Code, Display string }
	}
	if p.Do("POST", "/v1/redeem-codes", coaitest.AdminKey, object{"credit": 1}).JSON(t, &made); len(made.Data) != 1 || made.Data[0].Code == "" {
		t.Fatalf("made %+v", made)
	}
	var redeemed struct {
		RedeemCode struct {
			Payment    *struct{ Credit struct{ Amount string } }
			UserErrors []struct{ Message string }
		}
	}
	if errs := p.GraphQL(key, `mutation($code: String!) { redeemCode(input: {code: $code}) { payment { credit { amount } } userErrors { message } } }`,
		object{"code": made.Data[0].Code}, &redeemed); len(errs) > 0 || redeemed.RedeemCode.Payment == nil || redeemed.RedeemCode.Payment.Credit.Amount != "1" {
		t.Errorf("redeemed %+v, %v", redeemed, errs)
	}
	if res := p.Do("GET", "/v1/redeem-codes", coaitest.AdminKey, nil); strings.Contains(string(res.Body), made.Data[0].Code) {
		t.Error("a list shows a code")
	}
}
