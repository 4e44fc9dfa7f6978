// Package pipelinetest has the servers and ingest in one process for tests.
package pipelinetest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/simulator"
	"github.com/telltale-iot/telltale/simulator/pipeline"
)

// Start runs the servers and ingest, on free ports and without a fleet, until the
// test ends. Windows are of a second.
func Start(t *testing.T) *pipeline.Pipeline {
	t.Helper()
	const anyPort = "127.0.0.1:0"
	logger := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	p, err := pipeline.New(pipeline.Options{
		Listen: pipeline.Listen{MQTT: anyPort, Kafka: anyPort, Mongo: anyPort, Metrics: anyPort},
		Dir:    t.TempDir(), Window: time.Second, Version: "test", Logger: logger,
		Fleet: simulator.Options{Places: 1, Prefix: "none", Interval: time.Second, Logger: logger},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the pipeline ended with %v", err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}
