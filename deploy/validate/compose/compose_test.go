package compose

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
)

// exact is an image with a tag that names one release.
var exact = regexp.MustCompile(`^[a-z0-9][a-z0-9._/-]*:v?[0-9]+\.[0-9]+\.[0-9]+(-[a-z0-9.-]+)?$`)

// TestImages: an image of another's is pinned, and the README says where its tag was seen.
func TestImages(t *testing.T) {
	readme := read(t, filepath.Join(folder, "README.md"))
	each(t, load(t, "compose.yaml"), func(t *testing.T, s types.ServiceConfig) {
		switch {
		case ours(s):
		case !exact.MatchString(s.Image):
			t.Errorf("image %s: want the tag of one release", s.Image)
		case !strings.Contains(readme, "| `"+s.Image+"` |"):
			t.Errorf("README.md does not say where %s was seen", s.Image)
		}
	})
}

// TestVariables: whoever sets none has all.
func TestVariables(t *testing.T) {
	text := read(t, filepath.Join(folder, "compose.yaml"))
	variables := regexp.MustCompile(`\$\{([A-Z_]+)(:-[^}]*)?\}`).FindAllStringSubmatch(text, -1)
	if len(variables) < 10 {
		t.Fatalf("%d variables found", len(variables))
	}
	readme := read(t, filepath.Join(folder, "README.md"))
	for _, v := range variables {
		if v[2] == "" {
			t.Errorf("%s has no default", v[1])
		}
		if !strings.Contains(readme, "`"+v[1]+"`") {
			t.Errorf("README.md does not name %s", v[1])
		}
	}
}

// reason returns why a service has no health check.
func reason(s types.ServiceConfig) string {
	text, _ := s.Extensions["x-no-healthcheck"].(string)
	return text
}

func TestHealthChecks(t *testing.T) {
	each(t, load(t, "compose.yaml"), func(t *testing.T, s types.ServiceConfig) {
		h := s.HealthCheck
		switch {
		case reason(s) != "":
			if h != nil {
				t.Error("it has a health check, and a reason to have none")
			}
		case h == nil || h.Disable || len(h.Test) < 2:
			t.Error("it has no health check, and x-no-healthcheck does not say why")
		case h.Interval == nil || h.Timeout == nil || h.Retries == nil || h.StartPeriod == nil || *h.Timeout > *h.Interval:
			t.Errorf("health check %+v: want an interval, a timeout that is no longer, retries and a start period", h)
		}
	})
}

func TestLimits(t *testing.T) {
	each(t, load(t, "compose.yaml"), func(t *testing.T, s types.ServiceConfig) {
		if s.Deploy == nil || s.Deploy.Resources.Limits == nil {
			t.Fatal("it has no limits")
		}
		if l := s.Deploy.Resources.Limits; l.NanoCPUs <= 0 || l.MemoryBytes <= 0 || l.Pids <= 0 {
			t.Errorf("limits %+v: want processors, memory and processes", l)
		}
		if s.Logging == nil || s.Logging.Options["max-size"] == "" || s.Logging.Options["max-file"] == "" {
			t.Error("its log has no limit")
		}
		want := types.RestartPolicyUnlessStopped
		switch {
		case strings.HasSuffix(s.Name, "-setup"):
			want = types.RestartPolicyOnFailure
		case s.Name == "verify":
			want = types.RestartPolicyNo
		}
		if s.Restart != want {
			t.Errorf("restart %q, want %q", s.Restart, want)
		}
	})
}

// privileged are the services that have more rights than others, and why.
var privileged = map[string]string{
	"cadvisor": "it reads every container's control groups and the kernel's log, which its makers document for a privileged container only",
}

func TestRights(t *testing.T) {
	each(t, load(t, "compose.yaml"), func(t *testing.T, s types.ServiceConfig) {
		if !s.ReadOnly {
			t.Error("its root can be written to")
		}
		if !slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) > 0 {
			t.Errorf("capabilities: drops %v, adds %v", s.CapDrop, s.CapAdd)
		}
		if !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Error("it may gain privileges")
		}
		if _, ok := privileged[s.Name]; ok {
			return
		}
		if s.Privileged || len(s.Devices) > 0 {
			t.Error("it is privileged")
		}
		if !regexp.MustCompile(`^[1-9][0-9]*:[0-9]+$`).MatchString(s.User) {
			t.Errorf("user %q: want numbers, not root's", s.User)
		}
	})
}

func TestPorts(t *testing.T) {
	project := load(t, "compose.yaml")
	published := make(map[string]string)
	each(t, project, func(t *testing.T, s types.ServiceConfig) {
		for _, p := range s.Ports {
			if p.HostIP != "127.0.0.1" {
				t.Errorf("port %d is published at %q", p.Target, p.HostIP)
			}
			if other := published[p.Published]; other != "" {
				t.Errorf("port %s is that of %s too", p.Published, other)
			}
			published[p.Published] = s.Name
			if !slices.ContainsFunc(networks(project, s), func(n string) bool { return !project.Networks[n].Internal }) {
				t.Errorf("port %d: an internal network publishes none", p.Target)
			}
		}
	})
	if len(published) < 5 {
		t.Errorf("%d ports are published", len(published))
	}
}

// TestNetworks: who has no business with another cannot reach it.
func TestNetworks(t *testing.T) {
	project := load(t, "compose.yaml")
	for name, internal := range map[string]bool{"edge": false, "access": false, "services": true, "data": true, "observe": true} {
		if n, ok := project.Networks[name]; !ok || n.Internal != internal {
			t.Errorf("network %s: internal %v, want %v", name, n.Internal, internal)
		}
	}
	apart := map[string][]string{
		"mosquitto":        {"kafka", "mongodb", "prometheus", "grafana", "kafka-ui", "mongo-express", "kafka-rest", "klag-exporter"},
		"fleet":            {"kafka", "mongodb", "prometheus", "grafana", "ingest-bridge", "ingest-bridge-seed", "ingest-sink", "ingest-metrics"},
		"prometheus":       {"kafka", "mongodb", "mosquitto", "fleet"},
		"grafana":          {"kafka", "mongodb", "mosquitto", "fleet"},
		"klag-exporter":    {"mosquitto"},
		"ingest-sink":      {"mosquitto", "fleet"},
		"ingest-aggregate": {"mosquitto", "fleet"},
	}
	for a, others := range apart {
		for _, b := range others {
			for _, n := range networks(project, project.Services[a]) {
				if slices.Contains(networks(project, project.Services[b]), n) {
					t.Errorf("%s can reach %s by the network %s", a, b, n)
				}
			}
		}
	}
	each(t, project, func(t *testing.T, s types.ServiceConfig) {
		if len(networks(project, s)) == 0 {
			t.Error("it is in no network")
		}
		for other := range s.DependsOn {
			if !slices.ContainsFunc(networks(project, s), func(n string) bool {
				return slices.Contains(networks(project, project.Services[other]), n)
			}) {
				t.Errorf("it depends on %s and cannot reach it", other)
			}
		}
	})
}

func TestDependencies(t *testing.T) {
	project := load(t, "compose.yaml")
	each(t, project, func(t *testing.T, s types.ServiceConfig) {
		for name, d := range s.DependsOn {
			other := project.Services[name]
			switch d.Condition {
			case types.ServiceConditionHealthy:
				if other.HealthCheck == nil {
					t.Errorf("it waits for the health of %s, which has no check", name)
				}
			case types.ServiceConditionCompletedSuccessfully:
				if other.Restart != types.RestartPolicyOnFailure {
					t.Errorf("it waits for the end of %s, which comes back", name)
				}
			default:
				t.Errorf("it waits for %s to have been started, which says little", name)
			}
			if len(other.Profiles) > 0 && !slices.Equal(other.Profiles, s.Profiles) {
				t.Errorf("it waits for %s, which may not be in its profile", name)
			}
		}
	})
}

// TestMounts: what is mounted from the repository is there.
func TestMounts(t *testing.T) {
	project := load(t, "compose.yaml")
	root, err := filepath.Abs(repository)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range project.Configs {
		if _, err := os.Stat(c.File); err != nil {
			t.Errorf("config %s: %v", name, err)
		}
	}
	used := make(map[string]bool)
	each(t, project, func(t *testing.T, s types.ServiceConfig) {
		for _, c := range s.Configs {
			used["config "+c.Source] = true
		}
		for _, v := range s.Volumes {
			switch {
			case v.Type == types.VolumeTypeVolume:
				used["volume "+v.Source] = true
			case v.Type != types.VolumeTypeBind:
				t.Errorf("volume at %s: type %s", v.Target, v.Type)
			case !v.ReadOnly:
				t.Errorf("%s can be written to", v.Source)
			case strings.HasPrefix(v.Source, filepath.Join(root, "deploy/compose/secrets")):
			case strings.HasPrefix(v.Source, root):
				if _, err := os.Stat(v.Source); err != nil {
					t.Error(err)
				}
			case s.Name != "node-exporter" && s.Name != "cadvisor":
				t.Errorf("it sees %s of the host", v.Source)
			}
		}
	})
	for name := range project.Configs {
		if !used["config "+name] {
			t.Errorf("config %s is nobody's", name)
		}
	}
	for name := range project.Volumes {
		if !used["volume "+name] {
			t.Errorf("volume %s is nobody's", name)
		}
	}
}

// TestSeedTopic: the session of the seed's clients is one process's.
func TestSeedTopic(t *testing.T) {
	var bridges, seeds int
	project := load(t, "compose.yaml")
	for _, s := range project.Services {
		if value(s, "TELLTALE_ROLES") != "[bridge]" {
			continue
		}
		bridges++
		if value(s, "TELLTALE_MQTT_SEED_TOPIC") != "" {
			seeds++
			if value(s, "TELLTALE_MQTT_CLIENT_ID") == "" {
				t.Errorf("%s has the seed topic, and no client id that lasts", s.Name)
			}
		} else if value(s, "TELLTALE_MQTT_CLIENT_ID") != "" {
			t.Errorf("%s has a client id, so there cannot be two of it", s.Name)
		}
	}
	if bridges < 2 || seeds != 1 {
		t.Errorf("%d services are bridges, %d have the seed topic: want 2 and 1", bridges, seeds)
	}
	if !strings.Contains(read(t, filepath.Join(folder, "ingest.yaml")), "\n  seed_topic: \"\"\n") {
		t.Error("ingest.yaml does not leave the seed topic to the one")
	}
}

// TestOverride: what the test in deploy/compose/test runs is compose.yaml, but for
// the images and what its override says.
func TestOverride(t *testing.T) {
	real, tested := load(t, "compose.yaml"), load(t, "compose.yaml", "test/override.yaml")
	const standin = "localhost/standin:1"
	each(t, real, func(t *testing.T, s types.ServiceConfig) {
		o := tested.Services[s.Name]
		if o.Image != s.Image && o.Image != standin {
			t.Errorf("its image is %s", o.Image)
		}
		if ours(s) && o.Image == standin {
			t.Error("the image of our own is replaced")
		}
		if o.Image == standin {
			o.Image, o.Entrypoint, o.Ulimits = s.Image, s.Entrypoint, s.Ulimits
		}
		o.Networks, o.Logging = s.Networks, s.Logging
		switch s.Name {
		case "prometheus", "node-exporter":
			o.HealthCheck = s.HealthCheck
		case "fleet":
			o.Restart = s.Restart
		}
		want, got := document(t, s), document(t, o)
		if got != want {
			t.Errorf("the test runs another service:\n%s\nwant\n%s", got, want)
		}
	})
}

// document returns a service as YAML, to compare.
func document(t *testing.T, s types.ServiceConfig) string {
	t.Helper()
	project := types.Project{Services: types.Services{s.Name: s}}
	text, err := project.MarshalYAML()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
