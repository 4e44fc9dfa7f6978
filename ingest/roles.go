package ingest

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/telltale-iot/telltale/ingest/internal/aggregate"
	"github.com/telltale-iot/telltale/ingest/internal/bridge"
	"github.com/telltale-iot/telltale/ingest/internal/config"
	"github.com/telltale-iot/telltale/ingest/internal/deadletter"
	"github.com/telltale-iot/telltale/ingest/internal/fleet"
	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/ingest/internal/lag"
	"github.com/telltale-iot/telltale/ingest/internal/mqtt"
	"github.com/telltale-iot/telltale/ingest/internal/prom"
	"github.com/telltale-iot/telltale/ingest/internal/remotewrite"
	"github.com/telltale-iot/telltale/ingest/internal/sink"
	"github.com/telltale-iot/telltale/ingest/internal/timeseries"
	"github.com/telltale-iot/telltale/ingest/internal/window"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// The cleanup policies of topics.
const (
	retained  = "delete"         // for the configured retention
	compacted = "compact,delete" // the newest of each key, for as long
)

// overdue is how long the bridge may wait for Kafka and still be ready.
const overdue = 10 * time.Second

// need has the named topics created if they are absent.
func (i *Ingest) need(cleanup string, names ...string) {
	c := i.options.Config.Kafka
	for _, name := range names {
		if !slices.ContainsFunc(i.topics, func(t kafka.Topic) bool { return t.Name == name }) {
			topic := kafka.Topic{Name: name, Partitions: c.Partitions, Replication: c.Replication, Retention: c.Retention, Cleanup: cleanup}
			if name == aggregate.SensorsTopic {
				topic.MaxRecord = aggregate.MaxSensorRecord
			}
			i.topics = append(i.topics, topic)
		}
	}
}

func (i *Ingest) addBridge() error {
	c := i.options.Config
	metrics, err := bridge.NewMetrics(i.options.Registry)
	if err != nil {
		return err
	}
	producer, err := i.kafka.NewProducer(kafka.ProducerOptions{Topics: bridge.Topics(), Retried: metrics.Retried, Logger: i.log})
	if err != nil {
		return err
	}
	broker, err := i.mqttBroker()
	if err != nil {
		return err
	}
	receipts, err := broker.Publisher("receipts")
	if err != nil {
		return err
	}
	b, err := bridge.New(bridge.Options{
		Producer: producer, Receipts: receipts, SeedTopic: c.MQTT.SeedTopic,
		MaxUnacknowledged: c.Bridge.MaxUnacknowledged, MaxUnacknowledgedSize: int64(c.Bridge.MaxUnacknowledgedSize),
		BatchMessages: c.Bridge.BatchMessages, BatchAge: c.Bridge.BatchAge,
		MaxFuture: c.Bridge.MaxFuture, MaxPayload: int64(c.Bridge.MaxPayload),
		Limits:  bridge.Limits{Rate: c.Bridge.DeviceRate, Bandwidth: int64(c.Bridge.DeviceBandwidth), Burst: c.Bridge.DeviceBurst},
		Metrics: metrics, Logger: i.log,
	})
	if err != nil {
		return err
	}
	handle := func(ctx context.Context, m mqtt.Message) { b.Handle(ctx, bridge.Message(m)) }
	subscriptions := []mqtt.SubscriberOptions{
		{Name: "frames", Filter: mqtt.Shared(c.MQTT.ShareGroup, telemetry.FramesFilter()), Handle: handle},
	}
	if c.MQTT.SeedTopic != "" {
		// Its clients get no receipts and do not send again, so the broker is
		// asked to keep what comes while this process is away.
		subscriptions = append(subscriptions, mqtt.SubscriberOptions{Name: "seed", Filter: c.MQTT.SeedTopic, Persistent: true, Handle: handle})
	}
	for _, o := range subscriptions {
		subscriber, err := broker.Subscriber(o)
		if err != nil {
			return err
		}
		i.add(task{name: "bridge, subscription " + o.Name, run: subscriber.Run, ready: subscriber.Ready})
	}
	i.add(task{name: "bridge, receipts", run: receipts.Run, ready: receipts.Ready})
	i.add(task{name: config.RoleBridge, run: b.Run, ready: func(ctx context.Context) error {
		waiting := b.Waiting()
		if waiting <= overdue {
			return nil
		}
		if err := producer.Ready(ctx); err != nil {
			return fmt.Errorf("no batch taken by Kafka for %s: %w", waiting.Round(time.Second), err)
		}
		return fmt.Errorf("no batch taken by Kafka for %s", waiting.Round(time.Second))
	}})
	i.need(retained, bridge.Topics()...)
	return nil
}

func (i *Ingest) addMetrics() error {
	c := i.options.Config.Metrics
	latest, err := prom.NewLatest(prom.Options{MaxSensors: c.MaxSensors, StaleAfter: c.StaleAfter})
	if err != nil {
		return err
	}
	if err := i.options.Registry.Register(latest); err != nil {
		return err
	}
	follow := func(ctx context.Context, p *kafka.Assignment) error { return latest.Follow(ctx, p) }
	follower, err := i.consumer(config.RoleMetrics, kafka.ConsumerOptions{Group: prom.Group, Topic: prom.FramesTopic}, follow)
	if err != nil {
		return err
	}
	i.add(follower)
	i.need(retained, prom.FramesTopic)
	if err := i.addLag(); err != nil {
		return fmt.Errorf("lag: %w", err)
	}
	if c.MaxDevices > 0 {
		if err := i.addFleet(); err != nil {
			return fmt.Errorf("fleet: %w", err)
		}
	}
	if c.RemoteWrite.URL != "" {
		if err := i.addRemoteWrite(); err != nil {
			return fmt.Errorf("remote write: %w", err)
		}
	}
	if c.TimeSeries {
		return i.addTimeSeries()
	}
	return nil
}

// addFleet subscribes to the statuses of devices. Every process that does has all
// of them: what the broker retains it gives to no shared subscription.
func (i *Ingest) addFleet() error {
	f, err := fleet.New(fleet.Options{MaxDevices: i.options.Config.Metrics.MaxDevices, Logger: i.log})
	if err != nil {
		return err
	}
	if err := i.options.Registry.Register(f); err != nil {
		return err
	}
	broker, err := i.mqttBroker()
	if err != nil {
		return err
	}
	subscriber, err := broker.Subscriber(mqtt.SubscriberOptions{
		Name: "fleet", Filter: telemetry.StatusFilter(), Handle: func(_ context.Context, m mqtt.Message) {
			f.Handle(m.Topic, m.Payload, m.Retained)
			m.Ack()
		},
	})
	if err != nil {
		return err
	}
	i.add(task{name: "metrics, fleet", run: subscriber.Run, ready: subscriber.Ready})
	return nil
}

// addLag watches how far the groups of all roles are behind, whichever process
// has them.
func (i *Ingest) addLag() error {
	watch, err := lag.New(lag.Options{
		Groups: []lag.Group{
			{Name: sink.Group, Topic: sink.FramesTopic},
			{Name: aggregate.SensorsGroup, Topic: aggregate.FramesTopic},
			{Name: aggregate.PlacesGroup, Topic: aggregate.PartsTopic},
			{Name: prom.Group, Topic: prom.FramesTopic},
			{Name: remotewrite.Group, Topic: remotewrite.FramesTopic},
			{Name: timeseries.Group, Topic: timeseries.FramesTopic},
		},
		Offsets: i.kafka.Offsets, Registry: i.options.Registry, Logger: i.log,
	})
	if err != nil {
		return err
	}
	i.add(task{name: "metrics, lag", run: i.withTopics(watch.Run)})
	return nil
}

func (i *Ingest) addRemoteWrite() error {
	c := i.options.Config.Metrics.RemoteWrite
	tls, err := c.ClientTLS()
	if err != nil {
		return err
	}
	w, err := remotewrite.New(remotewrite.Options{
		URL: c.URL, Header: c.Header(), TLS: tls, Timeout: c.Timeout, Version: i.options.Version,
		Batch: c.Batch, BatchAge: c.BatchAge, Registry: i.options.Registry, Logger: i.log,
	})
	if err != nil {
		return err
	}
	write := func(ctx context.Context, p *kafka.Assignment) error { return w.Frames(ctx, p) }
	writer, err := i.consumer("metrics, remote write", kafka.ConsumerOptions{Group: remotewrite.Group, Topic: remotewrite.FramesTopic}, write, w.Ready)
	if err != nil {
		return err
	}
	i.add(writer)
	return nil
}

func (i *Ingest) addTimeSeries() error {
	producer, err := i.producer(config.RoleMetrics, timeseries.Topic)
	if err != nil {
		return err
	}
	w, err := timeseries.New(timeseries.Options{Producer: producer, Registry: i.options.Registry, Logger: i.log})
	if err != nil {
		return err
	}
	write := func(ctx context.Context, p *kafka.Assignment) error { return w.Frames(ctx, p) }
	writer, err := i.consumer("metrics, time series", kafka.ConsumerOptions{Group: timeseries.Group, Topic: timeseries.FramesTopic}, write, producer.Ready)
	if err != nil {
		return err
	}
	i.add(writer)
	i.need(retained, timeseries.Topic)
	return nil
}

func (i *Ingest) addAggregate() error {
	c := i.options.Config.Aggregate
	store, err := i.mongoClient()
	if err != nil {
		return err
	}
	producer, err := i.producer(config.RoleAggregate, aggregate.SensorsTopic, aggregate.PlacesTopic, aggregate.PartsTopic, deadletter.Topic)
	if err != nil {
		return err
	}
	a, err := aggregate.New(aggregate.Options{
		Window:    window.Options{Size: c.Window, Reorder: c.Reorder, Idle: c.Idle, MaxOpen: c.MaxOpen},
		Retention: c.Retention, Store: store, Producer: producer, Registry: i.options.Registry, Logger: i.log,
	})
	if err != nil {
		return err
	}
	sensors, err := i.consumer("aggregate, sensors", kafka.ConsumerOptions{Group: aggregate.SensorsGroup, Topic: aggregate.FramesTopic},
		func(ctx context.Context, p *kafka.Assignment) error { return a.Sensors(ctx, p) }, producer.Ready, store.Ready)
	if err != nil {
		return err
	}
	places, err := i.consumer("aggregate, places", kafka.ConsumerOptions{Group: aggregate.PlacesGroup, Topic: aggregate.PartsTopic},
		func(ctx context.Context, p *kafka.Assignment) error { return a.Places(ctx, p) }, producer.Ready, store.Ready)
	if err != nil {
		return err
	}
	i.add(sensors)
	i.add(places)
	i.need(retained, aggregate.FramesTopic, deadletter.Topic)
	i.need(compacted, aggregate.SensorsTopic, aggregate.PlacesTopic, aggregate.PartsTopic)
	return nil
}

func (i *Ingest) addSink() error {
	c := i.options.Config.Sink
	store, err := i.mongoClient()
	if err != nil {
		return err
	}
	producer, err := i.producer(config.RoleSink, deadletter.Topic)
	if err != nil {
		return err
	}
	s, err := sink.New(sink.Options{
		Store: store, Producer: producer, Batch: c.Batch, BatchAge: c.BatchAge, Registry: i.options.Registry, Logger: i.log,
	})
	if err != nil {
		return err
	}
	write := func(ctx context.Context, p *kafka.Assignment) error { return s.Frames(ctx, p) }
	writer, err := i.consumer(config.RoleSink, kafka.ConsumerOptions{Group: sink.Group, Topic: sink.FramesTopic}, write, producer.Ready, store.Ready)
	if err != nil {
		return err
	}
	i.add(writer)
	i.need(retained, sink.FramesTopic, deadletter.Topic)
	return nil
}
