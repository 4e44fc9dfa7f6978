// The command pod prints the pod that the DaemonSet of an overlay makes on a node,
// as YAML that podman plays. Podman knows no device plugin, no subPathExpr and no
// node's name: they become the device, the one file, and the name.
//
//	pod OVERLAY NODE IMAGE FOLDER
//
// FOLDER stands for the node's root: pki, state and the device are in it.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/telltale-iot/telltale/deploy/validate/kubernetes"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pod:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 4 {
		return errors.New("want OVERLAY NODE IMAGE FOLDER")
	}
	overlay, node, image, folder := args[0], args[1], args[2], args[3]
	objects, err := kubernetes.Build(overlay)
	if err != nil {
		return err
	}
	if len(objects.DaemonSets) != 1 || len(objects.ConfigMaps) != 1 {
		return fmt.Errorf("%s has %d DaemonSets and %d ConfigMaps: want one of each", overlay, len(objects.DaemonSets), len(objects.ConfigMaps))
	}
	file := node + ".yaml"
	config, ok := objects.ConfigMaps[0].Data[file]
	if !ok {
		return fmt.Errorf("%s has no configuration for the node %s", overlay, node)
	}
	if err := os.WriteFile(filepath.Join(folder, file), []byte(config), 0o644); err != nil {
		return err
	}
	template := objects.DaemonSets[0].Spec.Template
	pod := core.Pod{
		TypeMeta:   meta.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: meta.ObjectMeta{Name: objects.DaemonSets[0].Name, Labels: template.Labels},
		Spec:       template.Spec,
	}
	c := &pod.Spec.Containers[0]
	c.Image = image
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil && from.FieldRef != nil && from.FieldRef.FieldPath == "spec.nodeName" {
			c.Env[i].Value, c.Env[i].ValueFrom = node, nil
		}
	}
	for i := range c.VolumeMounts {
		c.VolumeMounts[i].SubPathExpr = ""
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		switch {
		case v.ConfigMap != nil:
			kind := core.HostPathFile
			v.VolumeSource = core.VolumeSource{HostPath: &core.HostPathVolumeSource{Path: filepath.Join(folder, file), Type: &kind}}
		case v.HostPath != nil:
			v.HostPath.Path = filepath.Join(folder, v.HostPath.Path)
		}
	}
	delete(c.Resources.Limits, "squat.ai/i2c")
	kind := core.HostPathCharDev
	pod.Spec.Volumes = append(pod.Spec.Volumes, core.Volume{Name: "i2c", VolumeSource: core.VolumeSource{HostPath: &core.HostPathVolumeSource{Path: filepath.Join(folder, "dev/i2c-1"), Type: &kind}}})
	c.VolumeMounts = append(c.VolumeMounts, core.VolumeMount{Name: "i2c", MountPath: "/dev/i2c-1"})
	pod.Spec.HostNetwork = true
	out, err := yaml.Marshal(pod)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(out)
	return err
}
