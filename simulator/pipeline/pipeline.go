// Package pipeline runs the whole of telltale in one process: the embedded
// servers of package lab, ingest with all its roles, and a fleet of real agents
// on emulated chips. The parts meet on real sockets only.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/telltale-iot/telltale/ingest"
	"github.com/telltale-iot/telltale/simulator"
	"github.com/telltale-iot/telltale/simulator/lab"
	"github.com/telltale-iot/telltale/simulator/ledger"
)

// Options configures a [Pipeline].
type Options struct {
	Listen Listen
	Dir    string        // an existing folder for all state
	Window time.Duration // of the aggregates

	// Fleet says which devices there are. Its Dir and MQTT are the pipeline's
	// to set.
	Fleet simulator.Options

	Version string
	Logger  *slog.Logger
}

// Listen has the addresses (host:port) of the servers; port 0 takes a free one.
type Listen struct {
	MQTT    string `yaml:"mqtt" help:"address of the MQTT broker"`
	Kafka   string `yaml:"kafka" help:"address of the Kafka broker"`
	Mongo   string `yaml:"mongo" help:"address of the MongoDB server"`
	Metrics string `yaml:"metrics" help:"address of ingest's /metrics, /healthz and /readyz"`
}

// ListenError says which address could not be listened on.
type ListenError struct {
	Setting string // of Listen, as in the configuration file: listen.mqtt
	Addr    string
	Err     error
}

func (e *ListenError) Error() string { return fmt.Sprintf("%s: %s: %v", e.Setting, e.Addr, e.Err) }

// Unwrap returns the cause.
func (e *ListenError) Unwrap() error { return e.Err }

// Pipeline is a running system.
type Pipeline struct {
	servers []io.Closer
	mqtt    *lab.MQTT
	kafka   *lab.Kafka
	mongo   *lab.Mongo
	ingest  *ingest.Ingest

	Fleet  *simulator.Fleet
	Ledger *ledger.Ledger
}

// Database is where ingest writes to.
const Database = "iot"

// idle is how long a sensor must be silent for its last window to close: short,
// so that the end of a demonstration is seen.
const idle = 5 * time.Second

// New starts the servers and makes ingest and the fleet. The caller runs the
// pipeline, and closes it in the end. An address that cannot be listened on is
// a *ListenError.
func New(o Options) (_ *Pipeline, err error) {
	p := &Pipeline{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	if err := p.startServers(&o); err != nil {
		return nil, err
	}
	config, err := ingestConfig(&o, p)
	if err != nil {
		return nil, err
	}
	p.ingest, err = ingest.New(ingest.Options{
		Config: config, Logger: o.Logger.With("program", "ingest"), Registry: prometheus.NewRegistry(), Version: o.Version,
	})
	if errors.As(err, new(*net.OpError)) {
		return nil, &ListenError{"listen.metrics", o.Listen.Metrics, err}
	}
	if err != nil {
		return nil, err
	}
	p.Ledger, err = ledger.New(ledger.Options{Brokers: []string{p.KafkaAddr()}, MongoURI: p.MongoURI(), Database: Database})
	if err != nil {
		return nil, err
	}
	fleet := o.Fleet
	fleet.Dir = filepath.Join(o.Dir, "devices")
	fleet.MQTT = simulator.MQTT{URL: "tcp://" + p.MQTTAddr()}
	p.Fleet, err = simulator.New(fleet)
	return p, err
}

func (p *Pipeline) startServers(o *Options) (err error) {
	discard := slog.New(slog.DiscardHandler)
	if p.mqtt, err = lab.StartMQTT(o.Listen.MQTT, discard); err != nil {
		return &ListenError{"listen.mqtt", o.Listen.MQTT, err}
	}
	p.servers = append(p.servers, p.mqtt)
	if p.kafka, err = lab.StartKafka(o.Listen.Kafka, filepath.Join(o.Dir, "kafka")); err != nil {
		return &ListenError{"listen.kafka", o.Listen.Kafka, err}
	}
	p.servers = append(p.servers, p.kafka)
	mongoDir := filepath.Join(o.Dir, "mongo")
	if err := os.MkdirAll(mongoDir, 0o700); err != nil {
		return err
	}
	if p.mongo, err = lab.StartMongo(o.Listen.Mongo, mongoDir, discard); err != nil {
		return &ListenError{"listen.mongo", o.Listen.Mongo, err}
	}
	p.servers = append(p.servers, p.mongo)
	return nil
}

// ingestConfig writes the configuration of ingest, for its own strict parser.
func ingestConfig(o *Options, p *Pipeline) (ingest.Config, error) {
	type document = map[string]any
	data, err := yaml.Marshal(document{
		"mqtt":      document{"url": "tcp://" + p.MQTTAddr()},
		"kafka":     document{"brokers": []string{p.KafkaAddr()}, "partitions": 4, "replication": 1},
		"mongo":     document{"uri": p.MongoURI(), "database": Database, "frames_ttl": "0s"}, // FerretDB has none
		"aggregate": document{"window": o.Window.String(), "idle": idle.String()},
		"metrics":   document{"listen": o.Listen.Metrics},
	})
	if err != nil {
		return ingest.Config{}, err
	}
	file := filepath.Join(o.Dir, "ingest.yaml")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return ingest.Config{}, err
	}
	return ingest.ParseConfig(file, data)
}

// MQTTAddr returns the host:port of the MQTT broker.
func (p *Pipeline) MQTTAddr() string { return p.mqtt.Addr() }

// KafkaAddr returns the host:port of the Kafka broker.
func (p *Pipeline) KafkaAddr() string { return p.kafka.Addr() }

// MongoURI returns the connection string of the MongoDB server.
func (p *Pipeline) MongoURI() string { return p.mongo.URI() }

// MetricsAddr returns the host:port of ingest's metrics.
func (p *Pipeline) MetricsAddr() string { return p.ingest.MetricsAddr() }

// Run runs ingest, the fleet and the ledger until ctx ends. The agents stop
// before ingest does, so that the last receipts still reach them.
func (p *Pipeline) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	rest, stopRest := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRest()
	group.Go(func() error {
		defer stopRest()
		return p.Fleet.Run(ctx)
	})
	group.Go(func() error { return p.ingest.Run(rest) })
	group.Go(func() error { return p.Ledger.Run(rest) })
	return group.Wait()
}

// Close stops the servers.
func (p *Pipeline) Close() error {
	var errs []error
	for _, server := range p.servers {
		errs = append(errs, server.Close())
	}
	return errors.Join(errs...)
}
