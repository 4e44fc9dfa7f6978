package lab

import (
	"fmt"
	"net"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Kafka is an embedded Kafka cluster of one broker.
type Kafka struct {
	cluster *kfake.Cluster
}

// StartKafka starts a broker on addr (host:port; port 0 takes a free one) that
// keeps its log in dir. An empty dir keeps it in memory.
func StartKafka(addr, dir string) (*Kafka, error) {
	options := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) { return net.Listen(network, addr) }),
		kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}),
	}
	if dir != "" {
		options = append(options, kfake.DataDir(dir))
	}
	cluster, err := kfake.NewCluster(options...)
	if err != nil {
		return nil, fmt.Errorf("lab: kafka: %w", err)
	}
	return &Kafka{cluster: cluster}, nil
}

// Addr returns the host:port that the broker listens on.
func (k *Kafka) Addr() string { return k.cluster.ListenAddrs()[0] }

// Close stops the broker. It waits for what dir still has to be told.
func (k *Kafka) Close() error {
	k.cluster.Close()
	return nil
}
