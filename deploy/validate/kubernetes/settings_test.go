package kubernetes

import (
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	networking "k8s.io/api/networking/v1"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// programs compiles those that pods run, and returns their folder.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	command := exec.Command("go", "build", "-o", dir, "./agent/cmd/telltale-agent", "./ingest/cmd/telltale-ingest", "./simulator/cmd/telltale-simulator")
	command.Dir = repository
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// program returns the name of the program in a workload's image.
func program(w workload) string {
	name, _, _ := strings.Cut(filepath.Base(w.container().Image), ":")
	return name
}

// environment returns the variables that the container of a workload has.
func environment(t *testing.T, o *Objects, w workload) map[string]string {
	t.Helper()
	env := make(map[string]string)
	for _, from := range w.container().EnvFrom {
		maps.Copy(env, configMap(t, o, from.ConfigMapRef.Name).Data)
	}
	for _, e := range w.container().Env {
		switch {
		case e.ValueFrom == nil:
			env[e.Name] = e.Value
		case e.ValueFrom.FieldRef != nil && e.ValueFrom.FieldRef.FieldPath == "spec.nodeName":
			env[e.Name] = "pi-1"
		case e.ValueFrom.SecretKeyRef != nil:
			for _, s := range o.Secrets {
				if s.Name == e.ValueFrom.SecretKeyRef.Name {
					env[e.Name] = string(s.Data[e.ValueFrom.SecretKeyRef.Key])
				}
			}
		default:
			t.Errorf("%s comes from %+v", e.Name, e.ValueFrom)
		}
	}
	return env
}

// mount lays out in a folder what the container of a workload sees of ConfigMaps,
// Secrets and the node's certificates.
func mount(t *testing.T, o *Objects, w workload, root string) {
	t.Helper()
	made, err := certificates()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range w.container().VolumeMounts {
		for _, v := range w.Spec.Volumes {
			if v.Name != m.Name {
				continue
			}
			at := filepath.Join(root, m.MountPath)
			switch {
			case v.ConfigMap != nil:
				key := m.SubPath
				if m.SubPathExpr != "" {
					key = strings.ReplaceAll(m.SubPathExpr, "$(TELLTALE_DEVICE)", "pi-1")
				}
				write(t, at, strings.ReplaceAll(configMap(t, o, v.ConfigMap.Name).Data[key], "/etc/telltale/", root+"/etc/telltale/"))
			case v.Secret != nil:
				for _, s := range o.Secrets {
					if s.Name != v.Secret.SecretName {
						continue
					}
					for key, data := range s.Data {
						if len(v.Secret.Items) == 0 {
							write(t, filepath.Join(at, key), strings.ReplaceAll(string(data), "/etc/telltale/", root+"/etc/telltale/"))
						}
					}
					for _, item := range v.Secret.Items {
						write(t, filepath.Join(at, item.Path), string(s.Data[item.Key]))
					}
				}
			case v.HostPath != nil && v.HostPath.Path == "/etc/telltale/pki":
				for _, name := range []string{"ca.crt", "device.crt", "device.key"} {
					write(t, filepath.Join(at, name), made[name])
				}
			}
		}
	}
}

// TestProgramsTakeTheirSettings: each program reads the files and the variables of
// its pod, and finds nothing to correct; and it has every setting that a variable
// names, as one that no setting has would change nothing.
func TestProgramsTakeTheirSettings(t *testing.T) {
	bin := programs(t)
	each(t, func(t *testing.T, o *Objects, w workload) {
		env := environment(t, o, w)
		binary := filepath.Join(bin, program(w))
		help, err := exec.Command(binary, w.container().Args[0], "--help").Output()
		if err != nil {
			t.Fatal(err)
		}
		var known []string
		for _, match := range regexp.MustCompile(`(?m)^ +--([a-z0-9-]+) `).FindAllStringSubmatch(string(help), -1) {
			known = append(known, "TELLTALE_"+strings.ToUpper(strings.ReplaceAll(match[1], "-", "_")))
		}
		for _, name := range slices.Sorted(maps.Keys(env)) {
			if !slices.Contains(known, name) && !strings.HasSuffix(name, "_URI") {
				t.Errorf("%s: %s has no such setting", name, program(w))
			}
		}
		if program(w) == "telltale-simulator" {
			return
		}
		root := t.TempDir()
		mount(t, o, w, root)
		args := []string{"health"}
		for i, arg := range w.container().Args {
			if arg == "--config" {
				args = append(args, arg, filepath.Join(root, w.container().Args[i+1]))
			}
		}
		env["TELLTALE_METRICS_LISTEN"] = "127.0.0.1:1" // where nobody answers
		// health reads the settings as run does, and then asks, in vain here.
		command := exec.Command(binary, args...)
		for name, value := range env {
			command.Env = append(command.Env, name+"="+strings.ReplaceAll(value, "/etc/telltale/", root+"/etc/telltale/"))
		}
		out, err := command.CombinedOutput()
		if err == nil || command.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "connect") {
			t.Errorf("exit code %d, %s: want 1, as nobody answers", command.ProcessState.ExitCode(), out)
		}
	})
}

// applies reports whether a policy is for the pods of a workload.
func applies(p networking.NetworkPolicy, w workload) bool {
	for _, e := range p.Spec.PodSelector.MatchExpressions {
		if e.Operator != "In" || !slices.Contains(e.Values, w.Labels[e.Key]) {
			return false
		}
	}
	return p.Namespace == w.namespace && (len(p.Spec.PodSelector.MatchLabels) == 0 || matches(w.Labels, p.Spec.PodSelector.MatchLabels))
}

// TestNetwork: the ports that a pod may reach are those of its servers, no fewer
// and no more, and who reaches it is Prometheus.
func TestNetwork(t *testing.T) {
	port := regexp.MustCompile(`:([0-9]+)`)
	each(t, func(t *testing.T, o *Objects, w workload) {
		if len(o.NetworkPolicies) == 0 {
			return // the laptop's servers are anywhere
		}
		env := environment(t, o, w)
		want := map[string]bool{"53": true}
		if env["TELLTALE_MQTT_TLS_CERT_FILE"] != "" {
			u, err := url.Parse(env["TELLTALE_MQTT_URL"])
			if err != nil || u.Scheme != "tls" {
				t.Errorf("the broker is %s: want TLS", env["TELLTALE_MQTT_URL"])
			}
			want[u.Port()] = true
		}
		if brokers := env["TELLTALE_KAFKA_BROKERS"]; brokers != "" {
			for _, match := range port.FindAllStringSubmatch(brokers, -1) {
				want[match[1]] = true
			}
		}
		if env["TELLTALE_MONGO_URI_FILE"] != "" {
			want[regexp.MustCompile(`@[^/]*:([0-9]+)/`).FindStringSubmatch(secrets(t)["mongo.uri"])[1]] = true
		}
		if write := env["TELLTALE_METRICS_REMOTE_WRITE_URL"]; write != "" {
			u, err := url.Parse(write)
			if err != nil || u.Scheme != "https" {
				t.Errorf("remote write goes to %s: want TLS", write)
			}
			want[u.Port()] = true
		}
		got, from := make(map[string]bool), make(map[string]bool)
		var types []networking.PolicyType
		for _, p := range o.NetworkPolicies {
			if !applies(p, w) {
				continue
			}
			types = append(types, p.Spec.PolicyTypes...)
			for _, rule := range p.Spec.Egress {
				if len(rule.To) == 0 && w.kind != "DaemonSet" {
					t.Errorf("%s: it reaches everybody", p.Name)
				}
				for _, p := range rule.Ports {
					got[p.Port.String()] = true
				}
			}
			for _, rule := range p.Spec.Ingress {
				if len(rule.From) == 0 {
					t.Errorf("%s: everybody reaches it", p.Name)
				}
				for _, p := range rule.Ports {
					from[p.Port.String()] = true
				}
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("it reaches the ports %v, its servers have %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
		}
		if w.kind == "Deployment" != from["metrics"] || len(from) > 1 {
			t.Errorf("it is reached at %v", from)
		}
		if !slices.Contains(types, networking.PolicyTypeIngress) || !slices.Contains(types, networking.PolicyTypeEgress) {
			t.Error("what no policy allows is not denied")
		}
	})
}
