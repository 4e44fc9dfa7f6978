//go:build integration

package e2e

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/telltale-iot/telltale/internal/await"
)

// clusterAddrs are the brokers kafka-1, kafka-2 and kafka-3 of one cluster.
var clusterAddrs = []string{"127.0.0.1:29192", "127.0.0.1:29193", "127.0.0.1:29194"}

// TestChaosThreeBrokers is TestChaos on three brokers, each of which is killed
// when it leads most of the stream's partitions.
func TestChaosThreeBrokers(t *testing.T) {
	c := startChaos(t, 3, clusterAddrs, "kafka-1", "kafka-2", "kafka-3")
	c.checkTopics()
	c.do(c.killLeader, c.killLeader, c.kill, c.zombie)
	c.settle()
	c.check()
}

// killLeader kills the broker that leads most partitions of iot-frames with
// SIGKILL, and starts it again when the others have long taken over.
func (c *chaos) killLeader() {
	c.t.Helper()
	client := &kafka.Client{Addr: kafka.TCP(c.brokers...)}
	var metadata *kafka.MetadataResponse
	await.True(c.t, time.Minute, "a broker says who leads", func() bool { // the one that is asked may have just come back
		var err error
		metadata, err = client.Metadata(c.t.Context(), &kafka.MetadataRequest{Topics: []string{"iot-frames"}})
		return err == nil && len(metadata.Topics) == 1 && metadata.Topics[0].Error == nil && len(metadata.Topics[0].Partitions) == chaosPartitions
	})
	leads := make(map[int]int)
	for _, p := range metadata.Topics[0].Partitions {
		leads[p.Leader.ID]++
	}
	busiest := slices.MaxFunc([]int{1, 2, 3}, func(a, b int) int { return leads[a] - leads[b] })
	name := fmt.Sprintf("kafka-%d", busiest)
	c.log("kill -9 of %s, which leads %d of %d partitions", name, leads[busiest], chaosPartitions)
	c.servers.run("kill", name)
	c.between(6*time.Second, 9*time.Second)
	c.servers.run("start", name)
	c.log("%s is back", name)
}

// checkTopics holds the topics that ingest has made to what keeps an
// acknowledged record through the loss of a broker.
func (c *chaos) checkTopics() {
	t := c.t
	t.Helper()
	client := &kafka.Client{Addr: kafka.TCP(c.brokers...)}
	topics := []string{"iot-frames", "iot-dead-letter", "iot-place-parts", "iot-aggregate-metrics-sensor", "iot-aggregate-metrics-place"}
	metadata, err := client.Metadata(t.Context(), &kafka.MetadataRequest{Topics: topics})
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range metadata.Topics {
		for _, p := range topic.Partitions {
			if len(p.Replicas) != 3 {
				t.Errorf("partition %d of %s is on %d brokers, want 3", p.ID, topic.Name, len(p.Replicas))
			}
		}
		const ofTopic = 1 // DescribeConfigs' source of what is set for a topic
		answer, err := client.DescribeConfigs(t.Context(), &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{
			{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic.Name, ConfigNames: []string{"min.insync.replicas"}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range answer.Resources {
			if len(r.ConfigEntries) != 1 || r.ConfigEntries[0].ConfigValue != "2" || r.ConfigEntries[0].ConfigSource != ofTopic {
				t.Errorf("%s has %+v, want 2 set for the topic", topic.Name, r.ConfigEntries)
			}
		}
	}
}
