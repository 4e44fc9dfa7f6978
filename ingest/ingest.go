// Package ingest is the cloud side of telltale: it carries frames from MQTT to
// Kafka, and from there to MongoDB, as they are and as windows, and to
// Prometheus. A process has one or more roles; processes with the same role
// divide the work between them by Kafka's consumer groups and MQTT's shared
// subscriptions.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/telltale-iot/telltale/ingest/internal/config"
	"github.com/telltale-iot/telltale/ingest/internal/fleet"
	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/ingest/internal/label"
	"github.com/telltale-iot/telltale/ingest/internal/mongo"
	"github.com/telltale-iot/telltale/ingest/internal/mqtt"
	"github.com/telltale-iot/telltale/ingest/internal/refusal"
	"github.com/telltale-iot/telltale/internal/certificate"
	"github.com/telltale-iot/telltale/internal/endpoint"
)

// Config is all that an ingest service can be told.
type Config = config.Config

// DefaultConfig returns the configuration that holds where nothing else is
// said: all roles, with every server on this host.
func DefaultConfig() Config { return config.Default() }

// ParseConfig reads a configuration file's content; name is the file's, for
// messages. The error is settings.Problems.
func ParseConfig(name string, data []byte) (Config, error) { return config.Parse(name, data) }

// Options configures an [Ingest].
type Options struct {
	Config   Config
	Logger   *slog.Logger         // nil discards
	Registry *prometheus.Registry // what /metrics serves; required
	Version  string
}

// Ingest is one process of the service.
type Ingest struct {
	options  Options
	log      *slog.Logger
	endpoint *endpoint.Server
	expiry   *certificate.Expiry
	kafka    *kafka.Client
	mongo    *mongo.Client // nil unless a role writes to it
	mqtt     *mqtt.Broker  // nil unless a role reads from it
	topics   []kafka.Topic
	tasks    []task

	consumerRetries *prometheus.CounterVec // group, reason
	recordsExpired  *prometheus.CounterVec // group
	producerRetries *prometheus.CounterVec // role, reason
	topicRetries    *prometheus.CounterVec // reason
	mongoFailures   *prometheus.CounterVec // reason

	// topicsThere is closed once every topic exists; until then topicsFailure
	// is why the last attempt to see to that failed.
	topicsThere   chan struct{}
	topicsFailure atomic.Pointer[error]
}

// task is something that Run runs until its context ends.
type task struct {
	name string
	run  func(ctx context.Context) error
	// ready says why the task cannot do its work at present; nil: it can. A
	// task without it is as ready as the process.
	ready readiness
}

// New makes what the roles need and listens on the metrics' address; that may
// fail, and mistakes in the configuration. No server is dialled: Run waits for
// those that are away.
func New(o Options) (_ *Ingest, err error) {
	if o.Registry == nil {
		return nil, errors.New("ingest: Options.Registry is nil")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	i := &Ingest{options: o, log: o.Logger, topicsThere: make(chan struct{})}
	if err := i.registerRetries(); err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	tls, err := o.Config.Kafka.ClientTLS()
	if err != nil {
		return nil, fmt.Errorf("ingest: kafka: %w", err)
	}
	sasl := o.Config.Kafka.SASL
	i.kafka, err = kafka.NewClient(kafka.Options{
		Brokers: o.Config.Kafka.Brokers, ClientID: i.clientID(), TLS: tls,
		SASL:   kafka.SASL{Mechanism: sasl.Mechanism, Username: sasl.Username, Password: sasl.Password.Reveal()},
		Logger: i.log,
	})
	if err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	i.add(task{name: "topics", run: i.ensureTopics, ready: i.topicsReady})
	for _, role := range []struct {
		name string
		make func() error
	}{
		{config.RoleBridge, i.addBridge},
		{config.RoleAggregate, i.addAggregate},
		{config.RoleSink, i.addSink},
		{config.RoleMetrics, i.addMetrics},
	} {
		if o.Config.Has(role.name) {
			if err := role.make(); err != nil {
				return nil, fmt.Errorf("ingest: %s: %w", role.name, err)
			}
		}
	}
	if err := i.registerProcess(); err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	if err := i.addCertificates(); err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	if i.endpoint, err = i.listen(context.Background()); err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	return i, nil
}

// clientID names the process to the servers.
func (i *Ingest) clientID() string {
	if id := i.options.Config.MQTT.ClientID; id != "" {
		return id
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return "telltale-ingest-" + host
}

func (i *Ingest) add(t task) { i.tasks = append(i.tasks, t) }

// MetricsAddr returns the host:port that /metrics, /healthz and /readyz are
// served on.
func (i *Ingest) MetricsAddr() string { return i.endpoint.Addr().String() }

// Run does the work of all roles until ctx ends. It does not return because a
// server is away, but for a mistake that waiting does not mend.
func (i *Ingest) Run(ctx context.Context) error {
	defer i.kafka.Close()
	if i.mongo != nil {
		defer func() { _ = i.mongo.Close(context.WithoutCancel(ctx)) }()
	}
	i.log.Info("starting", "version", i.options.Version, "roles", i.options.Config.Roles, "metrics", i.MetricsAddr())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := i.endpoint.Run(ctx); err != nil {
			return fmt.Errorf("ingest: %w", err)
		}
		return nil
	})
	group.Go(func() error { return certificate.Watch(ctx, i.expiry.Warn) })
	for _, t := range i.tasks {
		group.Go(func() error {
			if err := t.run(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("ingest: %s: %w", t.name, err)
			}
			return nil
		})
	}
	err := group.Wait()
	i.log.Info("stopped")
	return err
}

func (i *Ingest) ensureTopics(ctx context.Context) error {
	failed := func(err error) {
		i.topicRetries.WithLabelValues(kafka.Reason(err)).Inc()
		i.topicsFailure.Store(&err)
	}
	if err := i.kafka.EnsureTopics(ctx, i.topics, failed, i.log); err != nil {
		return err
	}
	close(i.topicsThere)
	return nil
}

func (i *Ingest) topicsReady(context.Context) error {
	select {
	case <-i.topicsThere:
		return nil
	default:
		if err := i.topicsFailure.Load(); err != nil {
			return fmt.Errorf("not seen to yet: %w", *err)
		}
		return errors.New("not seen to yet")
	}
}

// consumer returns a task that runs a consumer once the topics are there. The
// others are what must be ready besides.
func (i *Ingest) consumer(name string, o kafka.ConsumerOptions, handle func(context.Context, *kafka.Assignment) error, others ...readiness) (task, error) {
	o.Logger, o.SessionTimeout = i.log, i.options.Config.Kafka.SessionTimeout
	o.Retried = func(reason string) { i.consumerRetries.WithLabelValues(o.Group, reason).Inc() }
	expired := i.recordsExpired.WithLabelValues(o.Group) // from 0 on, so that the first is an increase
	o.Expired = func(records int64) { expired.Add(float64(records)) }
	consumer, err := i.kafka.NewConsumer(o)
	if err != nil {
		return task{}, err
	}
	run := func(ctx context.Context) error { return consumer.Run(ctx, handle) }
	return task{name: name, run: i.withTopics(run), ready: all(append([]readiness{consumer.Ready}, others...))}, nil
}

// withTopics returns run, which begins once the topics are there.
func (i *Ingest) withTopics(run func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-i.topicsThere:
			return run(ctx)
		case <-ctx.Done():
			return nil
		}
	}
}

// readiness says why something cannot do its work at present; nil: it can.
type readiness = func(ctx context.Context) error

// all returns the first of the answers that is not nil.
func all(of []readiness) readiness {
	return func(ctx context.Context) error {
		for _, ready := range of {
			if err := ready(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// producer returns a producer of a role.
func (i *Ingest) producer(role string, topics ...string) (*kafka.Producer, error) {
	i.producerRetries.WithLabelValues(role, "connection") // from 0 on, so that the first is seen as a rise
	retried := func(reason string) { i.producerRetries.WithLabelValues(role, reason).Inc() }
	return i.kafka.NewProducer(kafka.ProducerOptions{Topics: topics, Retried: retried, Logger: i.log})
}

// mqttBroker returns the way to the broker, which the roles share.
func (i *Ingest) mqttBroker() (*mqtt.Broker, error) {
	if i.mqtt != nil {
		return i.mqtt, nil
	}
	c := i.options.Config.MQTT
	tls, err := c.ClientTLS()
	if err != nil {
		return nil, err
	}
	i.mqtt, err = mqtt.New(mqtt.Options{
		URL: c.URL, ClientID: i.clientID(), Username: c.Username, Password: c.Password.Reveal(), TLS: tls,
		KeepAlive: c.KeepAlive, ConnectTimeout: c.ConnectTimeout, Registerer: i.options.Registry, Logger: i.log,
	})
	return i.mqtt, err
}

// maxLossReasons bounds the reasons of losses that have a series: they are the
// devices' words.
const maxLossReasons = 64

// mongoClient returns the client that the roles share, whose indexes a task of
// its own makes.
func (i *Ingest) mongoClient() (*mongo.Client, error) {
	if i.mongo != nil {
		return i.mongo, nil
	}
	lost := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "telltale_readings_lost_total", Help: "Readings that were declared lost and are so in the database, by reason; an upper bound, as one of them that comes all the same wins.",
	}, []string{"reason"})
	if err := i.options.Registry.Register(lost); err != nil {
		return nil, err
	}
	reasons := &label.Set{Max: maxLossReasons}
	for _, reason := range fleet.LossReasons() {
		lost.WithLabelValues(reasons.Of(reason)) // from 0 on, so that the first is an increase
	}
	c := i.options.Config.Mongo
	client, err := mongo.New(mongo.Options{
		URI: c.URI.Reveal(), Database: c.Database, FramesTTL: c.FramesTTL, Logger: i.log,
		Lost:   func(reason string, readings uint64) { lost.WithLabelValues(reasons.Of(reason)).Add(float64(readings)) },
		Failed: func(reason string) { i.mongoFailures.WithLabelValues(reason).Inc() },
	})
	if err != nil {
		return nil, err
	}
	i.mongo = client
	i.add(task{name: "indexes", run: i.ensureIndexes})
	return client, nil
}

// ensureIndexes tries until the database has them. Nothing waits for it:
// documents are as right without.
func (i *Ingest) ensureIndexes(ctx context.Context) error {
	said := false
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := i.mongo.EnsureIndexes(ctx)
		if err != nil && ctx.Err() == nil && !said {
			said = true
			i.log.Log(ctx, refusal.Level(err), "cannot make the database's indexes; retrying", "error", err)
		}
		return struct{}{}, err
	}, backoff.WithMaxElapsedTime(0))
	return err
}
