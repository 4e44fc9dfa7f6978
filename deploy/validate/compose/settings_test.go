package compose

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

// build compiles a program of telltale.
func build(t *testing.T, pkg string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), filepath.Base(pkg))
	command := exec.Command("go", "build", "-o", binary, pkg)
	command.Dir = repository
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// settings returns the variables that a command of the program has, from its flags.
func settings(t *testing.T, binary, command string) []string {
	t.Helper()
	help, err := exec.Command(binary, command, "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, match := range regexp.MustCompile(`(?m)^ +--([a-z0-9-]+) `).FindAllStringSubmatch(string(help), -1) {
		names = append(names, "TELLTALE_"+strings.ToUpper(strings.ReplaceAll(match[1], "-", "_")))
	}
	if len(names) < 3 {
		t.Fatalf("%s %s --help names %v", binary, command, names)
	}
	return names
}

// TestVariablesAreSettings: a variable that no setting has would change nothing.
func TestVariablesAreSettings(t *testing.T) {
	ingest, simulator := build(t, "./ingest/cmd/telltale-ingest"), build(t, "./simulator/cmd/telltale-simulator")
	each(t, load(t, "compose.yaml"), func(t *testing.T, s types.ServiceConfig) {
		if !ours(s) {
			return
		}
		binary := simulator
		if strings.Contains(s.Image, "telltale-ingest") {
			binary = ingest
		}
		known := settings(t, binary, s.Command[0])
		for _, name := range slices.Sorted(maps.Keys(s.Environment)) {
			if !slices.Contains(known, name) {
				t.Errorf("%s: %s has no such setting", name, filepath.Base(binary))
			}
		}
	})
}

// TestIngestTakesItsConfiguration: the program itself reads the file and the
// variables of each of its services, and finds nothing to correct.
func TestIngestTakesItsConfiguration(t *testing.T) {
	ingest := build(t, "./ingest/cmd/telltale-ingest")
	secrets := makeSecrets(t)
	dir := t.TempDir()
	for _, name := range []string{"client.crt", "client.key", "server.crt", "server.key", "metrics.hash", "mongo.uri", "remote_write.password"} {
		link(t, filepath.Join(secrets, "ingest", name), filepath.Join(dir, name))
	}
	link(t, filepath.Join(secrets, "ca.crt"), filepath.Join(dir, "ca.crt"))
	text := strings.ReplaceAll(read(t, filepath.Join(folder, "ingest.yaml")), "/run/secrets/", dir+"/")
	text = strings.ReplaceAll(text, "0.0.0.0:9464", "127.0.0.1:1") // where nobody answers
	file := filepath.Join(dir, "ingest.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	services := 0
	each(t, load(t, "compose.yaml"), func(t *testing.T, s types.ServiceConfig) {
		if !strings.Contains(s.Image, "telltale-ingest") {
			return
		}
		services++
		// health reads the settings as run does, and then asks, in vain here.
		command := exec.Command(ingest, "health", "--config", file)
		for name, value := range s.Environment {
			command.Env = append(command.Env, name+"="+*value)
		}
		for _, e := range s.EnvFiles {
			command.Env = append(command.Env, strings.Fields(read(t, filepath.Join(secrets, "ingest", filepath.Base(e.Path))))...)
		}
		out, err := command.CombinedOutput()
		if err == nil || command.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "connect") {
			t.Errorf("exit code %d, %s: want 1, as nobody answers", command.ProcessState.ExitCode(), out)
		}
	})
	if services != 5 {
		t.Errorf("%d services of ingest", services)
	}
}

func link(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Symlink(from, to); err != nil {
		t.Fatal(err)
	}
}
