// The command cadvisor serves what cAdvisor tells of containers at /metrics:
//
//	cadvisor [--podman unix:///SOCKET] ADDRESS
//
// It is cAdvisor's own library with the part of its main that Prometheus needs,
// since the module of that main cannot be had from a module proxy. It is for
// tests; deploy/compose runs cAdvisor's image.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/google/cadvisor/cache/memory"
	"github.com/google/cadvisor/container"
	_ "github.com/google/cadvisor/container/docker/install" // they register themselves
	_ "github.com/google/cadvisor/container/podman/install"
	v2 "github.com/google/cadvisor/info/v2"
	"github.com/google/cadvisor/manager"
	"github.com/google/cadvisor/metrics"
	"github.com/google/cadvisor/utils/sysfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/utils/clock"
)

func run(addr string) error {
	included := container.MetricSet{
		container.CpuUsageMetrics: {}, container.MemoryUsageMetrics: {}, container.NetworkUsageMetrics: {},
		container.DiskIOMetrics: {}, container.DiskUsageMetrics: {},
	}
	interval, dynamic := time.Second, false
	m, err := manager.New(memory.New(2*time.Minute, nil), sysfs.NewRealSysFs(),
		manager.HousekeepingConfig{Interval: &interval, AllowDynamic: &dynamic}, included, http.DefaultClient, []string{"/"}, nil, "", 0)
	if err != nil {
		return err
	}
	if err := m.Start(); err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	options := v2.RequestOptions{IdType: v2.TypeName, Count: 1, Recursive: true}
	if err := registry.Register(metrics.NewPrometheusCollector(m, nil, included, clock.RealClock{}, options)); err != nil {
		return err
	}
	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return errors.Join(http.ListenAndServe(addr, nil), m.Stop())
}

func main() {
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "cadvisor: want one address to listen on")
		os.Exit(2)
	}
	if err := run(flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "cadvisor:", err)
		os.Exit(1)
	}
}
