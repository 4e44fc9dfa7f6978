package kubernetes

import (
	"os/exec"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func configMap(t *testing.T, o *Objects, name string) *core.ConfigMap {
	t.Helper()
	for i, c := range o.ConfigMaps {
		if c.Name == name || strings.HasPrefix(c.Name, name+"-") {
			return &o.ConfigMaps[i]
		}
	}
	t.Fatalf("there is no ConfigMap %s", name)
	return nil
}

// hasSecret reports whether there is a secret of that whole name, with that key
// unless it is "".
func hasSecret(o *Objects, name, key string) bool {
	return slices.ContainsFunc(o.Secrets, func(s core.Secret) bool {
		_, ok := s.Data[key]
		return s.Name == name && (ok || key == "")
	})
}

// pinned is an image with a tag that names one release, or a digest.
var pinned = regexp.MustCompile(`^registry\.example\.org/telltale-[a-z]+(:v[0-9]+\.[0-9]+\.[0-9]+|@sha256:[0-9a-f]{64})$`)

// TestRights: a pod may nothing that it need not.
func TestRights(t *testing.T) {
	each(t, func(t *testing.T, o *Objects, w workload) {
		if len(w.Spec.Containers) != 1 || len(w.Spec.InitContainers) != 0 {
			t.Fatal("want one container")
		}
		c := w.container()
		local := strings.HasPrefix(c.Image, "localhost/telltale-") && strings.HasSuffix(c.Image, ":latest") && c.ImagePullPolicy == core.PullNever
		if !local && !pinned.MatchString(c.Image) {
			t.Errorf("image %s: want one release", c.Image)
		}
		p := w.Spec.SecurityContext
		if p == nil || p.RunAsNonRoot == nil || !*p.RunAsNonRoot || p.RunAsUser == nil || *p.RunAsUser != 65532 || p.RunAsGroup == nil || *p.RunAsGroup != 65532 ||
			p.SeccompProfile == nil || p.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
			t.Errorf("pod's security context %+v", p)
		}
		s := c.SecurityContext
		if s == nil || s.Privileged != nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem ||
			s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
			t.Errorf("container's security context %+v", s)
		}
		if w.Spec.AutomountServiceAccountToken == nil || *w.Spec.AutomountServiceAccountToken || w.Spec.HostNetwork || w.Spec.HostPID || w.Spec.HostIPC {
			t.Error("it has a token, or a namespace of the host")
		}
		for _, name := range []core.ResourceName{core.ResourceCPU, core.ResourceMemory} {
			if q := c.Resources.Requests[name]; q.IsZero() {
				t.Errorf("it requests no %s", name)
			}
		}
		if c.Resources.Limits.Memory().IsZero() {
			t.Error("its memory has no limit")
		}
		if g := w.Spec.TerminationGracePeriodSeconds; g == nil || *g < 30 {
			t.Error("it has no time to write what it holds")
		}
		level := ""
		for _, n := range o.Namespaces {
			if n.Name == w.namespace {
				level = n.Labels["pod-security.kubernetes.io/enforce"]
			}
		}
		host := slices.ContainsFunc(w.Spec.Volumes, func(v core.Volume) bool { return v.HostPath != nil })
		if want := map[bool]string{false: "restricted", true: "privileged"}[host]; level != want {
			t.Errorf("its namespace enforces %q, want %q", level, want)
		}
	})
}

// TestProbes: what is alive and waits for a server is not restarted.
func TestProbes(t *testing.T) {
	each(t, func(t *testing.T, _ *Objects, w workload) {
		c := w.container()
		if w.name == "fleet" {
			if c.StartupProbe != nil || c.LivenessProbe != nil || c.ReadinessProbe != nil {
				t.Error("it answers to nobody, and is asked")
			}
			return
		}
		if c.StartupProbe == nil || c.LivenessProbe == nil || c.ReadinessProbe == nil {
			t.Fatal("want three probes")
		}
		secure := slices.ContainsFunc(c.VolumeMounts, func(m core.VolumeMount) bool { return m.Name == "endpoint" })
		for name, probe := range map[string]*core.Probe{"/healthz": c.LivenessProbe, "/healthz again": c.StartupProbe, "/readyz": c.ReadinessProbe} {
			path, _, _ := strings.Cut(name, " ")
			switch {
			case probe.HTTPGet != nil:
				if probe.HTTPGet.Path != path || probe.HTTPGet.Port.StrVal != "metrics" || (probe.HTTPGet.Scheme == core.URISchemeHTTPS) != secure {
					t.Errorf("it asks %+v, want %s", probe.HTTPGet, path)
				}
			case probe.Exec != nil:
				want := "/usr/bin/telltale-agent health"
				if path == "/readyz" {
					want += " --ready"
				}
				if got := strings.Join(probe.Exec.Command, " "); got != want+" --config /etc/telltale/agent.yaml" {
					t.Errorf("it runs %s", got)
				}
			default:
				t.Errorf("%s is not asked for", path)
			}
		}
		if l := c.LivenessProbe; l.FailureThreshold < 3 || l.PeriodSeconds != 0 && l.PeriodSeconds*l.FailureThreshold < 60 {
			t.Errorf("a minute of a slow disk ends it: %+v", l)
		}
	})
}

// matches reports whether labels have all of the others.
func matches(labels, selector map[string]string) bool {
	for key, value := range selector {
		if labels[key] != value {
			return false
		}
	}
	return len(selector) > 0
}

func TestSelectors(t *testing.T) {
	each(t, func(t *testing.T, o *Objects, w workload) {
		for _, other := range workloads(o) {
			if matches(other.Labels, w.selector) != (other.name == w.name) {
				t.Errorf("its selector %v and the pods of %s", w.selector, other.name)
			}
		}
		if w.kind == "DaemonSet" || len(o.Budgets) == 0 {
			return
		}
		var budgets int
		for _, b := range o.Budgets {
			if matches(w.Labels, b.Spec.Selector.MatchLabels) {
				budgets++
				if b.Spec.MaxUnavailable == nil || b.Spec.MaxUnavailable.IntValue() != 1 {
					t.Errorf("%s: want one pod at a time", b.Name)
				}
			}
		}
		if budgets != 1 {
			t.Errorf("%d budgets are for it", budgets)
		}
	})
	o := build(t, "production")
	service := o.Services[0]
	for _, w := range workloads(o) {
		if !matches(w.Labels, service.Spec.Selector) {
			t.Errorf("the service has not the pods of %s", w.name)
		}
		if p := w.container().Ports; len(p) != 1 || p[0].Name != service.Spec.Ports[0].TargetPort.StrVal || p[0].ContainerPort != service.Spec.Ports[0].Port {
			t.Errorf("%s: ports %+v, the service's are %+v", w.name, p, service.Spec.Ports)
		}
	}
	monitor := o.ServiceMonitors[0]
	endpoint := monitor.Spec.Endpoints[0]
	if service.Name != "telltale-ingest" || !matches(service.Labels, monitor.Spec.Selector.MatchLabels) || endpoint.Port != service.Spec.Ports[0].Name {
		t.Errorf("the monitor has not the service, or not as the job telltale-ingest: %+v", monitor.Spec)
	}
	if endpoint.Scheme == nil || !strings.EqualFold(string(*endpoint.Scheme), "https") || endpoint.TLSConfig == nil || endpoint.TLSConfig.ServerName == nil || *endpoint.TLSConfig.ServerName != "telltale-ingest" {
		t.Errorf("it is scraped without TLS: %+v", endpoint)
	} else {
		for _, ref := range []core.SecretKeySelector{endpoint.BasicAuth.Username, endpoint.BasicAuth.Password, *endpoint.TLSConfig.CA.Secret} {
			if !hasSecret(o, ref.Name, ref.Key) {
				t.Errorf("there is no secret %s with %s", ref.Name, ref.Key)
			}
		}
	}
	if len(endpoint.MetricRelabelConfigs) != 1 {
		t.Error("what is written by remote write is scraped too")
	}
}

// TestReferences: what pods mount and read is there, and only what is mounted is made.
func TestReferences(t *testing.T) {
	used := make(map[string]bool)
	each(t, func(t *testing.T, o *Objects, w workload) {
		hasConfig := func(name string) bool {
			return slices.ContainsFunc(o.ConfigMaps, func(c core.ConfigMap) bool { return c.Name == name })
		}
		secret := func(name, key string) {
			used[name] = true
			if !hasSecret(o, name, key) {
				t.Errorf("there is no secret %s with %q", name, key)
			}
		}
		for _, v := range w.Spec.Volumes {
			switch {
			case v.ConfigMap != nil && !hasConfig(v.ConfigMap.Name):
				t.Errorf("there is no ConfigMap %s", v.ConfigMap.Name)
			case v.Secret != nil && len(v.Secret.Items) == 0:
				secret(v.Secret.SecretName, "")
			case v.Secret != nil:
				for _, item := range v.Secret.Items {
					secret(v.Secret.SecretName, item.Key)
				}
			}
			if !slices.ContainsFunc(w.container().VolumeMounts, func(m core.VolumeMount) bool { return m.Name == v.Name }) {
				t.Errorf("nobody mounts %s", v.Name)
			}
		}
		for _, e := range w.container().Env {
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				secret(e.ValueFrom.SecretKeyRef.Name, e.ValueFrom.SecretKeyRef.Key)
			}
			if regexp.MustCompile(`PASSWORD$|TOKEN$|HASH$`).MatchString(e.Name) {
				t.Errorf("%s is in the environment", e.Name)
			}
		}
		for _, from := range w.container().EnvFrom {
			if from.ConfigMapRef == nil || !hasConfig(from.ConfigMapRef.Name) {
				t.Errorf("there is no ConfigMap %+v", from)
			}
		}
	})
	for _, s := range build(t, "production").Secrets {
		if !used[s.Name] && s.Name != "telltale-scrape" && s.Name != "telltale-scaler" {
			t.Errorf("secret %s is nobody's", s.Name)
		}
	}
	if !strings.Contains(read(t, repository+"/.gitignore"), "\n/deploy/kubernetes/secrets/*\n!/deploy/kubernetes/secrets/kustomization.yaml\n") {
		t.Error("git does not ignore the secrets")
	}
}

// TestSeedTopic: the session of the seed's clients is one process's.
func TestSeedTopic(t *testing.T) {
	var seeds, bridges int
	o := build(t, "production")
	for _, w := range workloads(o) {
		if roles, _ := w.value("TELLTALE_ROLES"); roles != "[bridge]" {
			continue
		}
		topic, _ := w.value("TELLTALE_MQTT_SEED_TOPIC")
		_, named := w.value("TELLTALE_MQTT_CLIENT_ID")
		switch {
		case topic != "":
			seeds++
			if *w.replicas != 1 || !w.recreated || !named {
				t.Errorf("%s: %d replicas, recreated %v, with a client id that lasts %v: want one", w.name, *w.replicas, w.recreated, named)
			}
		case named:
			t.Errorf("%s has a client id, and several pods", w.name)
		default:
			bridges += int(*w.replicas)
		}
		if _, ok := w.value("TELLTALE_MQTT_SHARE_GROUP"); !ok {
			t.Errorf("%s has a share group that everybody knows", w.name)
		}
	}
	if seeds != 1 || bridges < 2 {
		t.Errorf("%d have the seed topic, %d others are bridges", seeds, bridges)
	}
}

// TestRules: the operator's rules are those of deploy/prometheus.
func TestRules(t *testing.T) {
	out, err := exec.Command(folder + "/rules").Output()
	if err != nil {
		t.Fatal(err)
	}
	if string(out) != read(t, folder+"/components/prometheus-operator/rules.yaml") {
		t.Error("rules.yaml is not what deploy/kubernetes/rules makes now: make kubernetes-rules")
	}
	for _, rule := range build(t, "production").Rules {
		var want monitoring.PrometheusRuleSpec
		file := repository + "/deploy/prometheus/rules/" + strings.TrimPrefix(rule.Name, "telltale-") + ".yaml"
		if err := yaml.UnmarshalStrict([]byte(read(t, file)), &want); err != nil {
			t.Fatal(err)
		}
		if len(want.Groups) == 0 || !reflect.DeepEqual(rule.Spec, want) {
			t.Errorf("%s and %s differ", rule.Name, file)
		}
	}
}

// TestPrivileged: without a device plugin the agent is privileged, has the bus, and is
// otherwise the same.
func TestPrivileged(t *testing.T) {
	dir := copied(t)
	file := dir + "/overlays/edge/kustomization.yaml"
	write(t, file, read(t, file)+"\ncomponents: [../../components/privileged]\n")
	o, err := Build(dir + "/overlays/edge")
	if err != nil {
		t.Fatal(err)
	}
	w := workloads(o)[0]
	s := w.container().SecurityContext
	if s.Privileged == nil || !*s.Privileged || s.AllowPrivilegeEscalation != nil || !*s.ReadOnlyRootFilesystem || *w.Spec.SecurityContext.RunAsUser != 65532 {
		t.Errorf("security context %+v", s)
	}
	last := w.Spec.Volumes[len(w.Spec.Volumes)-1]
	if last.HostPath == nil || *last.HostPath.Type != core.HostPathCharDev || len(w.container().Resources.Limits) != 1 {
		t.Errorf("volume %+v, limits %v", last, w.container().Resources.Limits)
	}
}
