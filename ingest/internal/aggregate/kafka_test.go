package aggregate

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/ingest/internal/kafka/kafkatest"
	"github.com/telltale-iot/telltale/ingest/internal/window"
	"github.com/telltale-iot/telltale/ingest/internal/window/windowtest"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// TestOnKafka runs both loops on sockets: two owners share four partitions, and
// one leaves in mid-stream.
func TestOnKafka(t *testing.T) {
	cluster := kafkatest.Start(t, kfake.NumBrokers(1),
		kfake.SeedTopics(4, FramesTopic, SensorsTopic, PartsTopic, PlacesTopic, "iot-dead-letter"),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
	client, err := kafka.NewClient(kafka.Options{Brokers: cluster.ListenAddrs()})
	if err != nil {
		t.Fatal(err)
	}
	producer, err := client.NewProducer(kafka.ProducerOptions{
		Topics: []string{FramesTopic, SensorsTopic, PartsTopic, PlacesTopic, "iot-dead-letter"},
	})
	if err != nil {
		t.Fatal(err)
	}
	store := newTwin()
	start := func() (stop func()) {
		a, err := New(Options{
			Window:    window.Options{Size: size, Reorder: 100 * time.Millisecond, Idle: 300 * time.Millisecond, MaxOpen: 100},
			Retention: 20 * 365 * 24 * time.Hour, Store: store, Producer: producer, Registry: prometheus.NewRegistry(),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 2)
		for _, loop := range []struct {
			group, topic string
			handle       func(context.Context, *kafka.Assignment) error
		}{
			{SensorsGroup, FramesTopic, func(ctx context.Context, p *kafka.Assignment) error { return a.Sensors(ctx, p) }},
			{PlacesGroup, PartsTopic, func(ctx context.Context, p *kafka.Assignment) error { return a.Places(ctx, p) }},
		} {
			consumer, err := client.NewConsumer(kafka.ConsumerOptions{Group: loop.group, Topic: loop.topic, MaxWait: 20 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			go func() { done <- consumer.Run(ctx, loop.handle) }()
		}
		return func() {
			cancel()
			for range 2 {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		}
	}
	var frames []telemetry.Frame
	send := func(first, last int) {
		var records []kafka.Record
		for seq := first; seq <= last; seq++ {
			for s := range 6 {
				f := frameAt(fmt.Sprintf("s%d", s), seq)
				f.PlaceID = fmt.Sprintf("p%d", s%2)
				frames = append(frames, f)
				value := telemetry.AppendFrame(nil, &f)
				records = append(records, kafka.Record{Key: []byte(f.ID), Value: value})
				if seq%3 == 0 { // delivered twice
					records = append(records, kafka.Record{Key: []byte(f.ID), Value: value})
				}
			}
		}
		if err := producer.Send(t.Context(), FramesTopic, records); err != nil {
			t.Fatal(err)
		}
	}
	settled := func(what string) {
		t.Helper()
		wantSensors, wantPlaces := windowtest.Windows(frames, size)
		deadline, tick := time.After(60*time.Second), time.NewTicker(20*time.Millisecond)
		defer tick.Stop()
		for {
			store.mu.Lock()
			sensors, places := plainAll(store.sensors), plainAll(store.places)
			store.mu.Unlock()
			if cmp.Equal(wantSensors, sensors) && cmp.Equal(wantPlaces, places) {
				return
			}
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("%s: -naive +stored:\n%s%s", what, cmp.Diff(wantSensors, sensors), cmp.Diff(wantPlaces, places))
			}
		}
	}
	first := start()
	send(0, 14)
	settled("one owner")
	second := start()
	send(15, 40)
	first()
	send(41, 60)
	settled("the other owner")
	second()
	last := map[string]string{}
	partitions := map[string]map[int]bool{}
	for _, r := range kafkatest.Records(t, cluster, SensorsTopic) {
		last[r.Key] = r.Value
	}
	for _, r := range kafkatest.Records(t, cluster, PartsTopic) {
		place := decode[window.Part]([]byte(r.Value)).Place
		if partitions[place] == nil {
			partitions[place] = map[int]bool{}
		}
		partitions[place][r.Partition] = true
	}
	for id, data := range store.sensors {
		if want := windowtest.Record(data); last[id] != want {
			t.Errorf("%s: -stored +last on Kafka:\n%s", id, cmp.Diff(want, last[id]))
		}
	}
	for place, in := range partitions {
		if len(in) != 1 {
			t.Errorf("the parts of %s are in %d partitions", place, len(in))
		}
	}
}
