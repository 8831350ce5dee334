package coai_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"
)

// TestSchemaIsDescribed: the schema is the reference that clients read, so each
// of its names says what it means.
func TestSchemaIsDescribed(t *testing.T) {
	src, err := os.ReadFile("schema.graphql")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := parser.ParseSchema(&ast.Source{Name: "schema.graphql", Input: string(src)})
	if err != nil {
		t.Fatal(err)
	}
	if len(doc.Definitions) < 20 {
		t.Fatalf("found only %d types", len(doc.Definitions))
	}
	described := func(description string, name ...string) {
		if strings.TrimSpace(description) == "" {
			t.Errorf("%s has no description", strings.Join(name, "."))
		}
	}
	for _, def := range doc.Definitions {
		described(def.Description, def.Name)
		for _, f := range def.Fields {
			described(f.Description, def.Name, f.Name)
			for _, arg := range f.Arguments {
				described(arg.Description, def.Name, f.Name, arg.Name)
			}
		}
		for _, v := range def.EnumValues {
			described(v.Description, def.Name, v.Name)
		}
	}
	for _, d := range doc.Directives {
		described(d.Description, "@"+d.Name)
	}
}

// TestRoutesMapOntoSchema: each endpoint of REST does what a field of the schema
// does, so the two faces offer the same.
func TestRoutesMapOntoSchema(t *testing.T) {
	schema, err := os.ReadFile("schema.graphql")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := parser.ParseSchema(&ast.Source{Name: "schema.graphql", Input: string(schema)})
	if err != nil {
		t.Fatal(err)
	}
	routes, err := os.ReadFile("rest/routes.go")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`"(Query|Mutation|Subscription)\.(\w+)"`).FindAllStringSubmatch(string(routes), -1)
	if want := strings.Count(string(routes), "{http.Method"); len(found) != want || want == 0 {
		t.Errorf("%d of %d routes name a field of the schema", len(found), want)
	}
	for _, m := range found {
		def := doc.Definitions.ForName(m[1])
		if def == nil || def.Fields.ForName(m[2]) == nil {
			t.Errorf("rest/routes.go names %s.%s, which the schema does not have", m[1], m[2])
		}
	}
}

// service is what the test reads of a service in docker-compose.yml.
type service struct {
	Image       string
	User        string
	Restart     string
	Environment map[string]string
	Command     any
	ReadOnly    bool                `yaml:"read_only"`
	CapDrop     []string            `yaml:"cap_drop"`
	SecurityOpt []string            `yaml:"security_opt"`
	DependsOn   map[string]struct{} `yaml:"depends_on"`
	HealthCheck *struct {
		Test    []string
		Disable bool
	} `yaml:"healthcheck"`
}

// TestCompose: docker-compose.yml holds no secret, hardens every container and
// knows of each whether it is well.
func TestCompose(t *testing.T) {
	src, err := os.ReadFile("docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var compose struct {
		Services map[string]service
		Volumes  map[string]any
	}
	if err := yaml.Unmarshal(src, &compose); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"api", "worker", "migrate", "postgres", "redis"} {
		if _, ok := compose.Services[want]; !ok {
			t.Errorf("there is no service %s", want)
		}
	}
	for name, s := range compose.Services {
		t.Run(name, func(t *testing.T) { checkService(t, s, compose.Services) })
	}
	checkSecrets(t, string(src))
}

func checkService(t *testing.T, s service, all map[string]service) {
	t.Helper()
	oneShot := s.Restart == "no"
	if !oneShot && (s.HealthCheck == nil || s.HealthCheck.Disable || len(s.HealthCheck.Test) < 2) {
		t.Error("has no health check")
	}
	if _, tag, ok := strings.Cut(s.Image, ":"); !ok || tag == "latest" {
		t.Errorf("image %q is not pinned by a tag", s.Image)
	}
	if !s.ReadOnly || len(s.CapDrop) != 1 || s.CapDrop[0] != "ALL" || len(s.SecurityOpt) != 1 || s.SecurityOpt[0] != "no-new-privileges:true" {
		t.Error("is not hardened: read_only, cap_drop ALL, no-new-privileges")
	}
	for other := range s.DependsOn {
		if _, ok := all[other]; !ok {
			t.Errorf("depends on %s, which is no service", other)
		}
	}
}

// checkSecrets fails for a secret that stands in the file or has a default.
func checkSecrets(t *testing.T, src string) {
	t.Helper()
	required := map[string]bool{}
	for part := range strings.SplitSeq(src, "${") {
		variable, _, closed := strings.Cut(part, "}")
		if !closed {
			continue
		}
		name, rest, _ := strings.Cut(variable, ":")
		if !secretName(name) {
			continue
		}
		if !strings.HasPrefix(rest, "?") {
			t.Errorf("${%s} must be required: ${%s:?…}", variable, name)
		}
		required[name] = true
	}
	for line := range strings.SplitSeq(src, "\n") {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if ok && secretName(name) && !strings.HasPrefix(value, "${") {
			t.Errorf("%s has a fixed value", name)
		}
	}

	if found := regexp.MustCompile(`://[^/\s:]*:[^$/\s][^/\s]*@`).FindString(src); found != "" {
		t.Errorf("a URL holds a password: %s", found)
	}

	example, err := os.ReadFile(".env.example")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(example), "\n") {
		name, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		if secretName(name) && value != "" {
			t.Errorf(".env.example gives %s a value", name)
		}
		delete(required, name)
	}
	for name := range required {
		t.Errorf(".env.example does not name %s", name)
	}
}

func secretName(name string) bool {
	for _, word := range []string{"PASSWORD", "KEY", "SECRET", "TOKEN", "AUTH"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}
