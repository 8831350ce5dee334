package coaitest_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/coaitest"
)

// example is a block of code in the README.
type example struct {
	lang, text string
	line       int
}

func examples(t *testing.T) []example {
	t.Helper()
	src, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var list []example
	var open *example
	for i, line := range strings.Split(string(src), "\n") {
		switch lang, fence := strings.CutPrefix(line, "```"); {
		case fence && open == nil:
			open = &example{lang: lang, line: i + 1}
		case fence:
			list = append(list, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	return list
}

// runtime runs the example, or checks its syntax, on a running product.
type runtime struct {
	p   *coaitest.Product
	env []string
	ids map[string]string // what stands for an id in the README, and one
}

// TestExamplesOfTheReadme runs every example of the README: what it says works.
// Those without a runtime here are read for their syntax.
func TestExamplesOfTheReadme(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{})
	made := func(method, path string, body any) string {
		var object struct{ ID string }
		p.Do(method, path, coaitest.AdminKey, body).JSON(t, &object)
		return object.ID
	}
	r := &runtime{p: p}
	r.ids = map[string]string{"ch_…": made("POST", "/v1/channels", object{"name": "c", "type": "echo", "models": []string{"m"}})}
	r.env = append(os.Environ(), "KEY="+coaitest.AdminKey, "ADMIN="+coaitest.AdminKey, //nolint:forbidigo // programs need PATH and HOME
		"ID="+made("POST", "/v1/api-keys", object{"name": "k"}), "USER="+made("GET", "/v1/users/me", nil))
	ran := map[string]int{}
	for _, e := range examples(t) {
		t.Run(fmt.Sprintf("line %d, %s", e.line, e.lang), func(t *testing.T) {
			e.text = strings.NewReplacer("http://127.0.0.1:8080", p.URL, "ws://127.0.0.1:8080", "ws"+strings.TrimPrefix(p.URL, "http"), "ch_…", r.ids["ch_…"]).Replace(e.text)
			ran[e.lang]++
			switch e.lang {
			case "sh":
				r.shell(t, e)
			case "ts":
				r.node(t, e)
			case "python":
				r.python(t, e)
			case "go":
				r.golang(t, e)
			default:
				t.Errorf("nobody runs %q", e.lang)
			}
		})
	}
	if ran["sh"] < 8 || ran["ts"] < 4 || ran["python"] < 1 || ran["go"] < 1 {
		t.Errorf("examples by language: %v", ran)
	}
}

func (r *runtime) run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, r.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// shell runs what asks the product by curl; other commands are read only.
func (r *runtime) shell(t *testing.T, e example) {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	if r.run(t, ".", "bash", "-n", "-c", e.text); t.Failed() || !strings.HasPrefix(e.text, "curl") {
		return
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	out := r.run(t, ".", "bash", "-e", "-c", "curl() { command curl -sS --fail-with-body \"$@\"; }\n"+e.text)
	if out == "" || strings.Contains(out, `"errors":[`) {
		t.Errorf("answered with %q", out)
	}
}

func (r *runtime) node(t *testing.T, e example) {
	t.Helper()
	dir := filepath.Join("testdata", "node")
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is not installed")
	}
	if strings.Contains(e.text, "import ") {
		if _, err := os.Stat(filepath.Join(dir, "node_modules", "openai")); err != nil {
			t.Skip("the packages are not installed: run 'npm ci' in internal/coaitest/testdata/node")
		}
	}
	args := []string{"--input-type=module", "-e", e.text}
	if v := r.run(t, dir, "node", "--version"); strings.HasPrefix(v, "v20.") {
		args = append([]string{"--experimental-websocket", "--no-warnings"}, args...)
	}
	if out := r.run(t, dir, "node", args...); !strings.Contains(out, "Hello") {
		t.Errorf("printed %q", out)
	}
}

func (r *runtime) python(t *testing.T, e example) {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not installed")
	}
	if exec.CommandContext(t.Context(), "python3", "-c", "import openai").Run() != nil {
		r.run(t, ".", "python3", "-c", "import ast, sys; ast.parse(sys.argv[1])", e.text)
		t.Log("the package openai is not installed: only the syntax was read")
		return
	}
	if out := r.run(t, ".", "python3", "-c", e.text); !strings.Contains(out, "Hello") {
		t.Errorf("printed %q", out)
	}
}

func (r *runtime) golang(t *testing.T, e example) {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("the go command is not installed")
	}
	if err := os.MkdirAll("testdata", 0o750); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("testdata", "readme") // inside the module, for its dependencies
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(e.text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := r.run(t, dir, "go", "run", "."); !strings.Contains(out, "Hello") {
		t.Errorf("printed %q", out)
	}
}
