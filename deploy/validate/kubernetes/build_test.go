package kubernetes

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	core "k8s.io/api/core/v1"
)

// The repository, and the folder that is tested, seen from this package's.
const (
	repository = "../../.."
	folder     = repository + "/deploy/kubernetes"
)

var overlays = []string{"production", "edge", "laptop"}

// copied returns a copy of deploy/kubernetes with secrets in it.
func copied(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, path)
		if err != nil {
			return err
		}
		if filepath.Dir(name) == "secrets" && filepath.Base(name) != "kustomization.yaml" {
			return nil // of whoever works here
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(dir, name), 0o700)
		}
		return os.WriteFile(filepath.Join(dir, name), []byte(read(t, path)), 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range secrets(t) {
		if err := os.WriteFile(filepath.Join(dir, "secrets", name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// certificates are made once, by deploy/pki.
var certificates = sync.OnceValues(func() (map[string]string, error) {
	dir, err := os.MkdirTemp("", "pki")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for _, args := range [][]string{{"ca"}, {"server", "telltale-ingest", "telltale-ingest"}, {"client", "telltale-ingest"}, {"device", "pi-1"}} {
		if out, err := exec.Command(repository+"/deploy/pki/pki", append([]string{"--dir", dir}, args...)...).CombinedOutput(); err != nil {
			return map[string]string{"output": string(out)}, err
		}
	}
	files := make(map[string]string)
	for name, path := range map[string]string{
		"ca.crt": "ca.crt", "server.crt": "server/telltale-ingest.crt", "server.key": "server/telltale-ingest.key",
		"client.crt": "client/telltale-ingest.crt", "client.key": "client/telltale-ingest.key",
		"device.crt": "device/pi-1.crt", "device.key": "device/pi-1.key",
	} {
		data, err := os.ReadFile(filepath.Join(dir, path))
		if err != nil {
			return nil, err
		}
		files[name] = string(data)
	}
	return files, nil
})

// secrets returns the files of secrets/ as README.md has them made.
func secrets(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{
		"metrics.hash": "$2y$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy\n",
		"mongo.uri":    "mongodb://telltale-ingest:made-up@mongodb.telltale-servers.svc:27017/?authSource=admin&tls=true&tlsCAFile=/etc/telltale/ca/ca.crt\n",
		"share_group":  "5f0c9a8e", "seed_client_id": "telltale-ingest-5f0c9a8e", "scrape.username": "prometheus", "scaler.username": "telltale-scaler",
	}
	for _, name := range []string{"bridge", "aggregate", "sink", "metrics", "scaler", "scrape", "remote_write"} {
		files[name+".password"] = "made-up-for-" + name
	}
	made, err := certificates()
	if err != nil {
		t.Fatalf("%v: %s", err, made["output"])
	}
	for name, content := range made {
		if !strings.HasPrefix(name, "device.") {
			files[name] = content
		}
	}
	return files
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// build returns the objects of an overlay.
func build(t *testing.T, overlay string) *Objects {
	t.Helper()
	objects, err := Build(filepath.Join(copied(t), "overlays", overlay))
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// workload is what makes pods.
type workload struct {
	kind, name, namespace string
	replicas              *int32
	recreated             bool // the old pod ends before the new one begins
	selector              map[string]string
	core.PodTemplateSpec
}

func (w *workload) container() *core.Container { return &w.Spec.Containers[0] }

// value returns a variable that is written out, and whether there is one.
func (w *workload) value(name string) (string, bool) {
	for _, e := range w.container().Env {
		if e.Name == name {
			return e.Value, true
		}
	}
	return "", false
}

func workloads(o *Objects) []workload {
	var all []workload
	for _, d := range o.Deployments {
		all = append(all, workload{"Deployment", d.Name, d.Namespace, d.Spec.Replicas, d.Spec.Strategy.Type == "Recreate", d.Spec.Selector.MatchLabels, d.Spec.Template})
	}
	for _, d := range o.DaemonSets {
		all = append(all, workload{"DaemonSet", d.Name, d.Namespace, nil, d.Spec.UpdateStrategy.RollingUpdate.MaxSurge.IntValue() == 0, d.Spec.Selector.MatchLabels, d.Spec.Template})
	}
	return all
}

// each runs a test for each workload of each overlay.
func each(t *testing.T, test func(t *testing.T, o *Objects, w workload)) {
	t.Helper()
	for _, overlay := range overlays {
		objects := build(t, overlay)
		all := workloads(objects)
		if len(all) == 0 {
			t.Fatalf("%s has no workload", overlay)
		}
		for _, w := range all {
			t.Run(overlay+"/"+w.name, func(t *testing.T) { test(t, objects, w) })
		}
	}
}

// TestCounts: what the three overlays are made of.
func TestCounts(t *testing.T) {
	p, e, l := build(t, "production"), build(t, "edge"), build(t, "laptop")
	for name, got := range map[string][2]int{
		"deployments of production":      {len(p.Deployments), 5},
		"budgets of production":          {len(p.Budgets), 5},
		"network policies of production": {len(p.NetworkPolicies), 7},
		"objects of KEDA":                {len(p.Scaling), 3},
		"rules":                          {len(p.Rules), 2},
		"service monitors":               {len(p.ServiceMonitors), 1},
		"secrets":                        {len(p.Secrets), 8},
		"daemon sets of edge":            {len(e.DaemonSets), 1},
		"secrets of edge":                {len(e.Secrets), 0},
		"deployments of laptop":          {len(l.Deployments), 2},
		"claims of laptop":               {len(l.Claims), 1},
	} {
		if got[0] != got[1] {
			t.Errorf("%d %s, want %d", got[0], name, got[1])
		}
	}
}

// TestMisspelt: a field that is written wrong is an error, also by its case alone.
func TestMisspelt(t *testing.T) {
	for _, c := range []struct{ overlay, file, right, wrong string }{
		{"production", "base/ingest-pod.yaml", "runAsNonRoot:", "runAsNonroot:"},
		{"production", "base/ingest-pod.yaml", "terminationGracePeriodSeconds:", "terminationGraceSeconds:"},
		{"production", "base/ingest-pod.yaml", "readOnlyRootFilesystem:", "readOnlyRootFileSystem:"},
		{"production", "base/disruption.yaml", "maxUnavailable:", "maxUnavailible:"},
		{"production", "base/network.yaml", "policyTypes:", "policytypes:"},
		{"production", "components/prometheus-operator/servicemonitor.yaml", "tlsConfig:", "tls_config:"},
		{"production", "components/prometheus-operator/rules.yaml", "expr:", "expression:"},
		{"production", "components/keda/scaling.yaml", "maxReplicaCount:", "maxReplicas:"},
		{"production", "components/keda/scaling.yaml", "authenticationRef:", "authenticationref:"},
		{"edge", "agent/daemonset.yaml", "subPathExpr:", "subPathExpression:"},
		{"edge", "agent/daemonset.yaml", "nodeSelector:", "nodeselector:"},
		{"laptop", "overlays/laptop/ingest.yaml", "imagePullPolicy:", "pullPolicy:"},
		{"laptop", "overlays/laptop/fleet.yaml", "kind: PersistentVolumeClaim", "kind: PersistentVolumeClaims"},
	} {
		t.Run(c.wrong, func(t *testing.T) {
			dir := copied(t)
			path := filepath.Join(dir, c.file)
			text := read(t, path)
			if !strings.Contains(text, c.right) {
				t.Fatalf("%s has no %s", c.file, c.right)
			}
			if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, c.right, c.wrong)), 0o600); err != nil {
				t.Fatal(err)
			}
			objects, err := Build(filepath.Join(dir, "overlays", c.overlay))
			if err == nil {
				err = checkScaling(t, objects)
			}
			word := strings.TrimSuffix(strings.TrimPrefix(c.wrong, "kind: "), ":")
			if err == nil || !strings.Contains(err.Error(), word) {
				t.Errorf("error %v: want one that names %s", err, word)
			}
		})
	}
}
