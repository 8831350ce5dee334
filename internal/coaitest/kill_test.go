package coaitest_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// serve runs the built program until it prints its URL.
func serve(t *testing.T, program, dir string) (url string, process *exec.Cmd) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program)
	cmd.Env = append(os.Environ(), "COAI_ADDR=127.0.0.1:0", "COAI_DATA_DIR="+dir, "COAI_BOOTSTRAP_ADMIN_KEY="+coaitest.AdminKey) //nolint:forbidigo // the program needs HOME
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if at := strings.Index(lines.Text(), "http://"); at >= 0 {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return strings.Fields(lines.Text()[at:])[0], cmd
		}
	}
	t.Fatalf("the program ended without printing its URL: %v", lines.Err())
	return "", nil
}

// A killed process starts again without help, and every completion that a
// client saw whole is in its ledger.
func TestKillUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "coai")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/coaidev/coai/cmd/coai").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	dir := t.TempDir()
	var whole atomic.Int64
	for range 3 {
		url, process := serve(t, program, dir)
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 10}}
		var clients sync.WaitGroup
		began := whole.Load()
		for i := range 8 {
			clients.Go(func() {
				for ask1(t.Context(), client, url, i%2 == 0) {
					whole.Add(1)
				}
			})
		}
		coaitest.Eventually(t, "load runs", func() bool { return whole.Load() > began+100 })
		if err := process.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = process.Wait()
		clients.Wait()
		client.CloseIdleConnections()
	}
	_, process := serve(t, program, dir)
	db, err := storage.Open(t.Context(), "sqlite:"+filepath.Join(dir, "coai.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	settled, err := db.Read().NewSelect().Model((*models.UsageRecord)(nil)).Where("status = ?", models.UsageSettled).Where("error_code = ''").Count(t.Context())
	if err != nil || settled < whole.Load() {
		t.Errorf("clients saw %d whole completions, the ledger has %d (%v)", whole.Load(), settled, err)
	}
	if err := process.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- process.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the program ended with %v after an interrupt", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the program does not end after an interrupt")
	}
}

// ask1 asks once and says whether the answer came whole.
func ask1(ctx context.Context, client *http.Client, url string, stream bool) bool {
	body := `{"model":"echo","messages":[{"role":"user","content":"a few words to repeat"}]}`
	if stream {
		body = strings.Replace(body, `"model"`, `"stream":true,"model"`, 1)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return false
	}
	req.Header.Set("Authorization", "Bearer "+coaitest.AdminKey)
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return false
	}
	return !stream || strings.HasSuffix(string(answer), "data: [DONE]\n\n")
}
