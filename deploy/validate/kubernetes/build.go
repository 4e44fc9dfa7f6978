// Package kubernetes tests deploy/kubernetes without a cluster: its overlays are
// built by the library that kustomize is, every object is decoded strictly into
// the types of Kubernetes, and what they say is held to each other and to the
// programs. deploy/kubernetes/test/run runs the agent's pod.
package kubernetes

import (
	"errors"
	"fmt"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// Objects are what an overlay has in it, by kind.
type Objects struct {
	Namespaces      []core.Namespace
	ConfigMaps      []core.ConfigMap
	Secrets         []core.Secret
	Services        []core.Service
	Claims          []core.PersistentVolumeClaim
	Deployments     []apps.Deployment
	DaemonSets      []apps.DaemonSet
	Budgets         []policy.PodDisruptionBudget
	NetworkPolicies []networking.NetworkPolicy
	ServiceMonitors []monitoring.ServiceMonitor
	Rules           []monitoring.PrometheusRule
	Scaling         [][]byte // KEDA's, as JSON
}

// Build makes the objects of the overlay in the folder. A kind that is none of
// those and a field that its kind does not have are errors.
func Build(folder string) (*Objects, error) {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return nil, fmt.Errorf("kubernetes: %w", err)
	}
	o := new(Objects)
	var problems []error
	for _, r := range resources.Resources() {
		data, err := r.MarshalJSON()
		if err != nil {
			return nil, fmt.Errorf("kubernetes: %s: %w", r.CurId(), err)
		}
		if err := o.add(r.GetApiVersion()+" "+r.GetKind(), data); err != nil {
			problems = append(problems, fmt.Errorf("kubernetes: %s: %w", r.CurId(), err))
		}
	}
	return o, errors.Join(problems...)
}

func (o *Objects) add(kind string, data []byte) error {
	switch kind {
	case "v1 Namespace":
		return decode(data, &o.Namespaces)
	case "v1 ConfigMap":
		return decode(data, &o.ConfigMaps)
	case "v1 Secret":
		return decode(data, &o.Secrets)
	case "v1 Service":
		return decode(data, &o.Services)
	case "v1 PersistentVolumeClaim":
		return decode(data, &o.Claims)
	case "apps/v1 Deployment":
		return decode(data, &o.Deployments)
	case "apps/v1 DaemonSet":
		return decode(data, &o.DaemonSets)
	case "policy/v1 PodDisruptionBudget":
		return decode(data, &o.Budgets)
	case "networking.k8s.io/v1 NetworkPolicy":
		return decode(data, &o.NetworkPolicies)
	case "monitoring.coreos.com/v1 ServiceMonitor":
		return decode(data, &o.ServiceMonitors)
	case "monitoring.coreos.com/v1 PrometheusRule":
		return decode(data, &o.Rules)
	case "keda.sh/v1alpha1 ScaledObject", "keda.sh/v1alpha1 TriggerAuthentication":
		o.Scaling = append(o.Scaling, data)
		return nil
	default:
		return fmt.Errorf("%s: not a kind that is known here", kind)
	}
}

// decode appends the object to those of its kind. Unlike encoding/json it tells
// upper from lower case, as a cluster does.
func decode[T any](data []byte, to *[]T) error {
	var object T
	unknown, err := json.UnmarshalStrict(data, &object)
	if err != nil {
		return err
	}
	*to = append(*to, object)
	return errors.Join(unknown...)
}
