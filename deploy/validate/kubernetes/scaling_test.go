package kubernetes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"
)

// KEDA's definitions of its resources are in its module. To import its types would
// compile the clients of Kubernetes, so they are read from there.
const (
	kedaModule = "github.com/kedacore/keda/v2@v2.21.0"
	kedaSum    = "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps="
)

// kedaFolder returns the folder of KEDA's module.
func kedaFolder(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "mod", "download", "-json", kedaModule).Output()
	if err != nil {
		t.Fatalf("go mod download %s: %v\n%s", kedaModule, err, out)
	}
	var module struct{ Dir, Sum string }
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	if module.Sum != kedaSum {
		t.Fatalf("%s has the sum %s, want %s", kedaModule, module.Sum, kedaSum)
	}
	return module.Dir
}

// kedaParameters returns what the trigger kafka takes, each with where it may be
// given: a trigger's metadata are any words to the definition of a ScaledObject.
func kedaParameters(t *testing.T) map[string]string {
	t.Helper()
	parameters := make(map[string]string)
	source := read(t, filepath.Join(kedaFolder(t), "pkg/scalers/kafka_scaler.go"))
	for _, match := range regexp.MustCompile(`keda:"name=([A-Za-z]+),order=([A-Za-z;]+)`).FindAllStringSubmatch(source, -1) {
		parameters[match[1]] = match[2]
	}
	if len(parameters) < 20 {
		t.Fatalf("the trigger kafka takes %v", parameters)
	}
	return parameters
}

// kedaSchemas returns the schemas of KEDA's kinds, in which a field that is not
// named is an error, as it is for a cluster that validates strictly.
func kedaSchemas(t *testing.T) map[string]*jsonschema.Schema {
	t.Helper()
	dir := kedaFolder(t)
	schemas := make(map[string]*jsonschema.Schema)
	for _, plural := range []string{"scaledobjects", "triggerauthentications"} {
		var definition struct {
			Spec struct {
				Names    struct{ Kind string }
				Versions []struct {
					Name   string
					Schema struct{ OpenAPIV3Schema map[string]any }
				}
			}
		}
		if err := yaml.Unmarshal([]byte(read(t, filepath.Join(dir, "config/crd/bases/keda.sh_"+plural+".yaml"))), &definition); err != nil {
			t.Fatal(err)
		}
		for _, v := range definition.Spec.Versions {
			if v.Name != "v1alpha1" {
				continue
			}
			closeSchema(v.Schema.OpenAPIV3Schema)
			compiler := jsonschema.NewCompiler()
			if err := compiler.AddResource(plural+".json", any(v.Schema.OpenAPIV3Schema)); err != nil {
				t.Fatal(err)
			}
			schema, err := compiler.Compile(plural + ".json")
			if err != nil {
				t.Fatal(err)
			}
			schemas[definition.Spec.Names.Kind] = schema
		}
	}
	if len(schemas) != 2 {
		t.Fatalf("%d schemas of KEDA", len(schemas))
	}
	return schemas
}

// closeSchema lets an object have no other fields than its properties. The
// metadata that every object has is an object without any.
func closeSchema(node any) {
	switch n := node.(type) {
	case map[string]any:
		if _, ok := n["properties"].(map[string]any); ok && n["additionalProperties"] == nil && n["x-kubernetes-preserve-unknown-fields"] != true {
			n["additionalProperties"] = false
		}
		for _, child := range n {
			closeSchema(child)
		}
	case []any:
		for _, child := range n {
			closeSchema(child)
		}
	}
}

// checkScaling holds KEDA's objects to its own definitions.
func checkScaling(t *testing.T, o *Objects) error {
	t.Helper()
	schemas := kedaSchemas(t)
	var problems []error
	for _, data := range o.Scaling {
		object, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		kind := object.(map[string]any)["kind"].(string)
		if err := schemas[kind].Validate(object); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", kind, err))
		}
	}
	return errors.Join(problems...)
}

// scaled is what of a ScaledObject is tested.
type scaled struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		ScaleTargetRef                   struct{ Name, Kind string }
		MinReplicaCount, MaxReplicaCount int
		Triggers                         []struct {
			Type              string
			Metadata          map[string]string
			AuthenticationRef struct{ Name string }
		}
		SecretTargetRef []struct{ Parameter, Name, Key string }
	}
}

func TestScaling(t *testing.T) {
	o := build(t, "production")
	if err := checkScaling(t, o); err != nil {
		t.Fatal(err)
	}
	var config struct{ Kafka struct{ Partitions int } }
	if err := yaml.Unmarshal([]byte(configMap(t, o, "telltale-ingest").Data["ingest.yaml"]), &config); err != nil {
		t.Fatal(err)
	}
	brokers := configMap(t, o, "telltale-servers").Data["TELLTALE_KAFKA_BROKERS"]
	known, parameters := names(t), kedaParameters(t)
	all := make([]scaled, len(o.Scaling))
	for i, data := range o.Scaling {
		if err := json.Unmarshal(data, &all[i]); err != nil {
			t.Fatal(err)
		}
	}
	var groups, authentications, given []string
	for _, s := range all {
		if s.Kind != "TriggerAuthentication" {
			continue
		}
		authentications = append(authentications, s.Metadata.Name)
		for _, ref := range s.Spec.SecretTargetRef {
			if !strings.Contains(parameters[ref.Parameter], "authParams") {
				t.Errorf("KEDA takes no %q from a TriggerAuthentication", ref.Parameter)
			}
			given = append(given, ref.Parameter)
			if !hasSecret(o, ref.Name, ref.Key) {
				t.Errorf("there is no secret %s with %s", ref.Name, ref.Key)
			}
		}
	}
	for _, s := range all {
		if s.Kind != "ScaledObject" {
			continue
		}
		i := slices.IndexFunc(workloads(o), func(w workload) bool { return w.kind == "Deployment" && w.name == s.Spec.ScaleTargetRef.Name })
		if i < 0 {
			t.Errorf("%s: there is no Deployment %s", s.Metadata.Name, s.Spec.ScaleTargetRef.Name)
			continue
		}
		target := workloads(o)[i]
		if target.replicas != nil {
			t.Errorf("%s: the number of replicas is said twice", s.Metadata.Name)
		}
		if s.Spec.MinReplicaCount < 2 || s.Spec.MaxReplicaCount > config.Kafka.Partitions {
			t.Errorf("%s: %d to %d replicas, want 2 at least and no more than the %d partitions", s.Metadata.Name, s.Spec.MinReplicaCount, s.Spec.MaxReplicaCount, config.Kafka.Partitions)
		}
		for _, trigger := range s.Spec.Triggers {
			m := trigger.Metadata
			for name := range m {
				if !strings.Contains(parameters[name], "triggerMetadata") {
					t.Errorf("%s: KEDA takes no %q from a trigger's metadata", s.Metadata.Name, name)
				}
			}
			groups = append(groups, m["consumerGroup"])
			if !known[m["consumerGroup"]] || !known[m["topic"]] {
				t.Errorf("%s: ingest has no group %q or topic %q", s.Metadata.Name, m["consumerGroup"], m["topic"])
			}
			if trigger.Type != "kafka" || m["tls"] != "enable" || m["sasl"] != "scram_sha512" || !slices.Contains(authentications, trigger.AuthenticationRef.Name) {
				t.Errorf("%s: trigger %+v: want Kafka by TLS as a user", s.Metadata.Name, trigger)
			}
			for _, broker := range strings.Split(m["bootstrapServers"], ",") {
				if !strings.Contains(brokers, broker) {
					t.Errorf("%s: %s is none of ingest's brokers %s", s.Metadata.Name, broker, brokers)
				}
			}
		}
	}
	for _, name := range []string{"username", "password", "ca"} {
		if !slices.Contains(given, name) {
			t.Errorf("KEDA is given no %s", name)
		}
	}
	slices.Sort(groups)
	if want := []string{"telltale-aggregate", "telltale-places", "telltale-sink"}; !slices.Equal(groups, want) {
		t.Errorf("groups %v, want %v", groups, want)
	}
}

// names returns the words that ingest's sources quote: its groups and topics are
// among them.
func names(t *testing.T) map[string]bool {
	t.Helper()
	words := make(map[string]bool)
	for _, pattern := range []string{"/ingest/internal/*/*.go", "/internal/telemetry/*.go"} {
		files, err := filepath.Glob(repository + pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			for _, match := range regexp.MustCompile(`"([a-z][a-z0-9-]+)"`).FindAllStringSubmatch(read(t, file), -1) {
				words[match[1]] = true
			}
		}
	}
	return words
}
