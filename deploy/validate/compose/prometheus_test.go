package compose

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestPrometheusConfiguration has promtool read the configuration, with the rules
// and secrets that it names.
func TestPrometheusConfiguration(t *testing.T) {
	secrets := makeSecrets(t)
	dir := t.TempDir()
	for name, file := range map[string]string{
		"ca.crt": "ca.crt", "self.password": "prometheus/self.password", "alertmanager.password": "prometheus/alertmanager.password",
		"server.crt": "prometheus/server.crt", "server.key": "prometheus/server.key",
	} {
		link(t, filepath.Join(secrets, file), filepath.Join(dir, name))
	}
	rules, err := filepath.Abs(filepath.Join(repository, "deploy/prometheus/rules"))
	if err != nil {
		t.Fatal(err)
	}
	rewritten := strings.NewReplacer("/run/secrets/", dir+"/", "/etc/prometheus/rules/", rules+"/")
	for check, source := range map[string]string{
		"config":     filepath.Join(folder, "prometheus.yml"),
		"web-config": filepath.Join(secrets, "prometheus", "web.yaml"),
	} {
		file := filepath.Join(dir, check)
		if err := os.WriteFile(file, []byte(rewritten.Replace(read(t, source))), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("promtool", "check", check, file).CombinedOutput(); err != nil {
			t.Errorf("promtool check %s: %v\n%s", check, err, out)
		}
	}
}

// TestTargets: what Prometheus scrapes are services that it can reach.
func TestTargets(t *testing.T) {
	project := load(t, "compose.yaml")
	text := read(t, filepath.Join(folder, "prometheus.yml"))
	var names []string
	for _, match := range regexp.MustCompile(`(?:names: \[|targets: \[")([a-z, -]+)`).FindAllStringSubmatch(text, -1) {
		names = append(names, strings.Split(match[1], ", ")...)
	}
	for _, name := range names {
		s, ok := project.Services[name]
		if !ok {
			t.Errorf("%s: there is no such service", name)
		} else if !slices.Contains(networks(project, s), "observe") {
			t.Errorf("%s is not in the network of Prometheus", name)
		}
	}
	for _, s := range project.Services {
		if slices.Contains(networks(project, s), "observe") && !slices.Contains(names, s.Name) {
			t.Errorf("%s is not scraped", s.Name)
		}
	}
}
