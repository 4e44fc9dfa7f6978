package compose

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// The repository, and the folder of compose.yaml, seen from this package's.
const (
	repository = "../../.."
	folder     = repository + "/deploy/compose"
)

// load returns the project that the files describe, with the services of all
// profiles, as whoever sets no variable has it; files of variables, which
// make-secrets makes, are named in it and not read. A path that is not absolute is
// one of the folder. A field that is unknown is an error.
func load(t *testing.T, files ...string) *types.Project {
	t.Helper()
	var paths []string
	for _, file := range files {
		if !filepath.IsAbs(file) {
			file = filepath.Join(folder, file)
		}
		paths = append(paths, file)
	}
	options, err := cli.NewProjectOptions(paths, cli.WithWorkingDirectory(folder), cli.WithProfiles([]string{"*"}), cli.WithEnv(nil), cli.WithoutEnvironmentResolution)
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(project.Services) < 15 {
		t.Fatalf("%d services: want all of them", len(project.Services))
	}
	return project
}

// each runs a test for each service, by the services' names.
func each(t *testing.T, project *types.Project, test func(t *testing.T, s types.ServiceConfig)) {
	t.Helper()
	for _, name := range project.ServiceNames() {
		t.Run(name, func(t *testing.T) { test(t, project.Services[name]) })
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// ours reports whether the image is one of telltale's.
func ours(s types.ServiceConfig) bool {
	return strings.HasPrefix(s.Image, "localhost/telltale-") && strings.HasSuffix(s.Image, ":latest")
}

// value returns a variable of the service's environment, "" if it is not set.
func value(s types.ServiceConfig, name string) string {
	if v := s.Environment[name]; v != nil {
		return *v
	}
	return ""
}

// networks returns the names of the networks that a service is in, also those of
// the service whose network it shares.
func networks(project *types.Project, s types.ServiceConfig) []string {
	if other, ok := strings.CutPrefix(s.NetworkMode, "service:"); ok {
		return networks(project, project.Services[other])
	}
	var names []string
	for name := range s.Networks {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
