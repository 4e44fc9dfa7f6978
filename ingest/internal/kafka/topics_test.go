package kafka

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/telltale-iot/telltale/ingest/internal/kafka/kafkatest"
)

func newClient(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// topicConfigs returns the settings of a topic, of those that EnsureTopics may
// make.
func topicConfigs(t *testing.T, c *Client, topic string) map[string]string {
	t.Helper()
	answer, err := c.api.DescribeConfigs(t.Context(), &kafkago.DescribeConfigsRequest{
		Resources: []kafkago.DescribeConfigRequestResource{{ResourceType: kafkago.ResourceTypeTopic, ResourceName: topic}},
	})
	if err != nil {
		t.Fatal(err)
	}
	configs := map[string]string{}
	for _, e := range answer.Resources[0].ConfigEntries {
		switch e.ConfigName {
		case "cleanup.policy", "retention.ms", "min.insync.replicas", "max.message.bytes":
			configs[e.ConfigName] = e.ConfigValue
		}
	}
	return configs
}

func partitions(t *testing.T, c *Client, topic string) int {
	t.Helper()
	found, err := c.api.Metadata(t.Context(), &kafkago.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		t.Fatal(err)
	}
	return len(found.Topics[0].Partitions)
}

func TestEnsureTopicsCreatesTheAbsentOnly(t *testing.T) {
	cluster := kafkatest.Start(t, kfake.NumBrokers(3), kfake.SeedTopics(2, frames))
	c := newClient(t, Options{Brokers: cluster.ListenAddrs()})
	topics := []Topic{
		{Name: frames, Partitions: 12, Replication: 1, Retention: time.Hour},
		{Name: "parts", Partitions: 6, Replication: 3, Cleanup: "compact"},
		{Name: "kept", Partitions: 1, Replication: 1, Cleanup: "delete", Retention: -1},
		{Name: "week", Partitions: 1, Replication: 1, Retention: 7 * 24 * time.Hour, MaxRecord: 8 << 20},
	}
	for range 2 { // the second time there is nothing to do
		if err := c.EnsureTopics(t.Context(), topics, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := partitions(t, c, frames); n != 2 {
		t.Errorf("%s was there with 2 partitions and has %d now", frames, n)
	}
	if n := partitions(t, c, "parts"); n != 6 {
		t.Errorf("parts has %d partitions, want 6", n)
	}
	if got := topicConfigs(t, c, "parts")["cleanup.policy"]; got != "compact" {
		t.Errorf("parts has cleanup.policy %q, want compact", got)
	}
	if got := topicConfigs(t, c, "kept"); got["retention.ms"] != "-1" || got["cleanup.policy"] != "delete" {
		t.Errorf("kept has %v", got)
	}
	if got := topicConfigs(t, c, "week"); got["retention.ms"] != "604800000" || got["max.message.bytes"] != "8388608" {
		t.Errorf("week has %v", got)
	}
	for topic, want := range map[string]string{"parts": "2", "week": topicConfigs(t, c, frames)["min.insync.replicas"]} {
		if got := topicConfigs(t, c, topic)["min.insync.replicas"]; got != want {
			t.Errorf("%s has min.insync.replicas %q, want %q", topic, got, want)
		}
	}
}

func TestEnsureTopicsWaitsForKafka(t *testing.T) {
	port := kafkatest.FreePort(t)
	c := newClient(t, Options{Brokers: []string{fmt.Sprintf("127.0.0.1:%d", port)}})
	var log bytes.Buffer
	done := make(chan error, 1)
	go func() {
		done <- c.EnsureTopics(t.Context(), []Topic{{Name: frames, Partitions: 3, Replication: 1}}, nil, slog.New(slog.NewTextHandler(&log, nil)))
	}()
	select {
	case err := <-done:
		t.Fatalf("EnsureTopics returned %v without Kafka", err)
	case <-time.After(300 * time.Millisecond):
	}
	cluster := kafkatest.Start(t, kfake.NumBrokers(1), kfake.Ports(port))
	cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Err: kerr.PolicyViolation, Count: 1})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if cluster.TopicInfo(frames) == nil {
		t.Error("the topic is not there")
	}
	if n := strings.Count(log.String(), "retrying"); n != 1 {
		t.Errorf("said %d times that it retries, want once:\n%s", n, &log)
	}
}

func TestTopicsAreValidated(t *testing.T) {
	c := newClient(t, Options{Brokers: []string{"127.0.0.1:1"}})
	for _, topic := range []Topic{
		{Partitions: 1, Replication: 1},
		{Name: "t", Replication: 1},
		{Name: "t", Partitions: 1},
		{Name: "t", Partitions: 1, Replication: 1, Cleanup: "shrink"},
		{Name: "t", Partitions: 1, Replication: 1, MaxRecord: -1},
	} {
		if err := c.EnsureTopics(t.Context(), []Topic{topic}, nil, nil); err == nil {
			t.Errorf("%+v is accepted", topic)
		}
	}
}
