// Package kafkatest runs an in-process twin of Kafka for tests and reads back
// what it holds. The twin, franz-go's kfake, speaks the real protocol on real
// sockets and can be told to fail.
package kafkatest

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
)

// Start runs a cluster until the test ends.
func Start(t testing.TB, opts ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(opts...)
	if err != nil {
		t.Fatalf("start kfake: %v", err)
	}
	t.Cleanup(c.Close)
	return c
}

// FreePort returns a TCP port of the loopback where nothing listens, for a
// broker that is to come later.
func FreePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return n
}

// Record is a record as the cluster holds it.
type Record struct {
	Partition int
	Offset    int64
	Time      time.Time
	Key       string
	Value     string
	Headers   map[string]string
}

// Records returns all records of a topic, partition by partition, each in the
// order of its offsets.
func Records(t testing.TB, c *kfake.Cluster, topic string) []Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	transport := &kafkago.Transport{}
	defer transport.CloseIdleConnections()
	api := &kafkago.Client{Addr: kafkago.TCP(c.ListenAddrs()...), Transport: transport}
	found, err := api.Metadata(ctx, &kafkago.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		t.Fatalf("metadata of %q: %v", topic, err)
	}
	var records []Record
	for _, p := range found.Topics[0].Partitions {
		for offset := int64(0); ; {
			answer, err := api.Fetch(ctx, &kafkago.FetchRequest{Topic: topic, Partition: p.ID, Offset: offset, MinBytes: 1, MaxBytes: 64 << 20, MaxWait: 10 * time.Millisecond})
			if err != nil {
				t.Fatalf("fetch %s/%d at %d: %v", topic, p.ID, offset, err)
			}
			if answer.Error != nil {
				t.Fatalf("fetch %s/%d at %d: %v", topic, p.ID, offset, answer.Error)
			}
			before := offset
			for {
				r, err := answer.Records.ReadRecord()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("read %s/%d at %d: %v", topic, p.ID, offset, err)
				}
				if r.Offset < offset {
					continue // of the same batch, before the offset asked for
				}
				offset = r.Offset + 1
				records = append(records, decode(t, p.ID, r))
			}
			if offset == before {
				if offset < answer.HighWatermark {
					t.Fatalf("%s/%d holds %d records but gives %d", topic, p.ID, answer.HighWatermark, offset)
				}
				break
			}
		}
	}
	return records
}

func decode(t testing.TB, partition int, r *kafkago.Record) Record {
	t.Helper()
	read := func(b kafkago.Bytes) string {
		if b == nil {
			return ""
		}
		data, err := io.ReadAll(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	d := Record{Partition: partition, Offset: r.Offset, Time: r.Time, Key: read(r.Key), Value: read(r.Value), Headers: map[string]string{}}
	for _, h := range r.Headers {
		d.Headers[h.Key] = string(h.Value)
	}
	return d
}
