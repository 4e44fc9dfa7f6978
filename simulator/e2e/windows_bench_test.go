//go:build integration

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/segmentio/kafka-go"

	"github.com/telltale-iot/telltale/internal/await"
)

const (
	framesTopic     = "iot-frames"
	sensorsTopic    = "iot-aggregate-metrics-sensor"
	placesTopic     = "iot-aggregate-metrics-place"
	partsTopic      = "iot-place-parts"
	deadLetterTopic = "iot-dead-letter"
)

// streamsVariable has the class path of the Kafka Streams program to compare
// with, or is "off".
const streamsVariable = "TELLTALE_TEST_STREAMS"

var (
	windowPasses  = flag.Int("passes", 5, "BenchmarkWindows: backlogs that each process is measured with, after the one that warms it up")
	windowProfile = flag.String("windows-profile", "", "BenchmarkWindows: file for a CPU profile of our process without a store")
	windowsBy     = flag.String("aggregators", "", "BenchmarkWindows: regular expression of the programs to run (empty: all)")
)

// aggregator is a program that computes the windows.
type aggregator struct {
	name   string
	path   string
	args   []string
	group  string   // that reads the frames
	topics []string // that have the windows
}

// windowPass is what one backlog took.
type windowPass struct {
	elapsed time.Duration
	cpu     time.Duration
}

func (p windowPass) rate() float64 { return backlogFrames / p.elapsed.Seconds() / 1000 }

func (p windowPass) cost() float64 { return p.cpu.Seconds() * 1e6 / backlogFrames }

// windowResult is what became of an aggregator.
type windowResult struct {
	name   string
	cold   windowPass // from the start of the process
	passes []windowPass
	peak   float64 // MB
}

// BenchmarkWindows measures how fast backlogs of a million frames in Kafka become
// windows by sensor and by place in Kafka, beside Kafka Streams.
//
// Each program is a process of its own, on the same Kafka, with its topics made
// anew. It is started with a backlog waiting; that is the cold figure, from the
// start of the process. Then, with the process stopped, the next backlog is
// written, and the clock runs from its continuation until Kafka has a record with
// the right count and sum of every window that all its sensors have passed, and
// the offsets behind them are committed.
//
// Ours writes a window once it is passed. Kafka Streams writes what has changed at
// each commit, and would do the last window, which nothing passes, as well: it is
// asked for by neither side.
func BenchmarkWindows(b *testing.B) {
	classPath := os.Getenv(streamsVariable)
	if classPath == "" {
		b.Fatalf("%s is not set: want what deploy/local/streams/build prints, or off", streamsVariable)
	}
	wanted, err := regexp.Compile(*windowsBy)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		startServers(b, "kafka", "mongo")
		dropDatabase(b)
		var results []windowResult
		for _, a := range aggregators(b, classPath) {
			if wanted.MatchString(a.name) {
				results = append(results, measureWindows(b, a))
			}
		}
		printWindows(results)
		ours := results[0]
		b.ReportMetric(median(ours.passes, windowPass.rate)*1000, "frames/s")
		b.ReportMetric(median(ours.passes, windowPass.cost), "cpu-ms/1000frames")
		b.ReportMetric(ours.peak, "peak-MB")
		b.ReportMetric(0, "ns/op")
	}
}

func aggregators(b *testing.B, classPath string) []aggregator {
	b.Helper()
	// Frames come in order here, and Kafka Streams waits for none: with reorder at
	// its default all places would wait two seconds for more.
	const reorder = "100ms"
	unstored := aggregator{
		name: "telltale, store in memory", path: buildGo(b, runtime.GOARCH, filepath.Join(root, "ingest/internal/aggregate/cmd/inmemory")),
		args:  []string{"--brokers", kafkaAddr, "--reorder", reorder, "--cpuprofile", *windowProfile},
		group: "telltale-aggregate", topics: []string{sensorsTopic, placesTopic},
	}
	stored := unstored
	stored.name, stored.path = "telltale, MongoDB server", filepath.Join(root, "bin", "telltale-ingest")
	stored.args = []string{"run", "--roles", "[aggregate]", "--kafka-brokers", "[" + kafkaAddr + "]", "--kafka-partitions", strconv.Itoa(backlogPartitions),
		"--mongo-uri", mongoURI(), "--mongo-database", databaseName, "--metrics-listen", metricsAddr, "--aggregate-reorder", reorder}
	all := []aggregator{unstored, stored}
	if classPath != "off" {
		for _, s := range []struct {
			name, guarantee, commit string
			by                      string
		}{
			{"Kafka Streams, by sensor only", "at_least_once", "300", "sensors"},
			{"Kafka Streams, at least once", "at_least_once", "300", "places"},
			{"Kafka Streams, exactly once", "exactly_once_v2", "300", "places"},
		} {
			id := "streams-" + s.by + "-" + s.guarantee
			topics := []string{id + "-sensors"}
			if s.by == "places" {
				topics = append(topics, id+"-places")
			}
			all = append(all, aggregator{
				name: s.name, path: "java", group: id, topics: topics,
				args: []string{"-Xms768m", "-Xmx768m", "-XX:+UseParallelGC", "-Djava.io.tmpdir=" + b.TempDir(), "-cp", classPath,
					"Streams", kafkaAddr, id, s.guarantee, s.commit, strconv.Itoa(backlogPartitions), s.by},
			})
		}
	}
	return all
}

// measureWindows runs one program over all passes.
func measureWindows(b *testing.B, a aggregator) windowResult {
	b.Helper()
	client := &kafka.Client{Addr: kafka.TCP(kafkaAddr), Transport: &kafka.Transport{}}
	defer client.Transport.(*kafka.Transport).CloseIdleConnections()
	renewTopics(b, client, a)
	g := newGenerator(*windowPasses + 1)
	out := &windowRecords{client: client, next: make(map[string][]int64)}
	result := windowResult{name: a.name}

	made, complete := g.make(b)
	made.load(b, client)
	made = batches{}
	runtime.GC()
	begin := time.Now()
	process := launch(b, a.path, a.args...)
	measure := func(before usage) windowPass {
		out.await(b, a, complete)
		awaitCommit(b, client, a.group, g)
		return windowPass{elapsed: time.Since(begin), cpu: process.usage().cpu - before.cpu}
	}
	result.cold = measure(usage{})
	for range *windowPasses {
		made, complete = g.make(b)
		process.signal(syscall.SIGSTOP)
		made.load(b, client)
		made = batches{}
		runtime.GC()
		before := process.usage()
		begin = time.Now()
		process.signal(syscall.SIGCONT)
		result.passes = append(result.passes, measure(before))
	}
	result.peak = float64(process.usage().peak) / (1 << 20)
	process.signal(syscall.SIGTERM)
	_ = process.wait(time.Minute) // Java ends by the signal
	return result
}

// renewTopics deletes what earlier programs have left, and makes the topics.
func renewTopics(b *testing.B, client *kafka.Client, a aggregator) {
	b.Helper()
	topics := append([]string{framesTopic, sensorsTopic, placesTopic, partsTopic, deadLetterTopic}, a.topics...)
	slices.Sort(topics)
	topics = slices.Compact(topics)
	names := func() (names []string) {
		found, err := client.Metadata(b.Context(), &kafka.MetadataRequest{})
		if err != nil {
			b.Fatal(err)
		}
		for _, t := range found.Topics {
			if !t.Internal {
				names = append(names, t.Name)
			}
		}
		return names
	}
	if there := names(); len(there) > 0 {
		if _, err := client.DeleteTopics(b.Context(), &kafka.DeleteTopicsRequest{Topics: there}); err != nil {
			b.Fatal(err)
		}
		await.True(b, 30*time.Second, "the topics are deleted", func() bool { return len(names()) == 0 })
	}
	if _, err := client.DeleteGroups(b.Context(), &kafka.DeleteGroupsRequest{GroupIDs: []string{"telltale-aggregate", "telltale-places"}}); err != nil {
		b.Fatal(err)
	}
	var configs []kafka.TopicConfig
	for _, name := range topics {
		configs = append(configs, kafka.TopicConfig{Topic: name, NumPartitions: backlogPartitions, ReplicationFactor: 1})
	}
	created, err := client.CreateTopics(b.Context(), &kafka.CreateTopicsRequest{Topics: configs})
	if err != nil {
		b.Fatal(err)
	}
	for name, err := range created.Errors {
		if err != nil {
			b.Fatalf("topic %s: %v", name, err)
		}
	}
	await.True(b, 30*time.Second, "all topics have leaders", func() bool {
		found, err := client.Metadata(b.Context(), &kafka.MetadataRequest{Topics: topics})
		return err == nil && !slices.ContainsFunc(found.Topics, func(t kafka.Topic) bool {
			return t.Error != nil || len(t.Partitions) != backlogPartitions || slices.ContainsFunc(t.Partitions, func(p kafka.Partition) bool { return p.Error != nil })
		})
	})
}

// windowRecords follows the topics that windows are written to.
type windowRecords struct {
	client *kafka.Client
	next   map[string][]int64 // offsets by topic and partition
}

// await waits until the topics have a record of each of the windows.
func (r *windowRecords) await(b *testing.B, a aggregator, windows map[string]totals) {
	b.Helper()
	if len(a.topics) == 1 { // by sensor only
		for id := range windows {
			if id[0] == 'h' {
				delete(windows, id)
			}
		}
	}
	last := make(map[string]totals)
	defer func() {
		if b.Failed() {
			b.Logf("%s: %d windows are missing or differ", a.name, len(windows))
			for id, want := range windows {
				b.Logf("such as %s: %+v, want %+v", id, last[id], want)
				break
			}
		}
	}()
	await.True(b, 2*time.Minute, a.name+" has written all windows", func() bool {
		for _, topic := range a.topics {
			r.poll(b, topic, func(id string, got totals) {
				last[id] = got
				if want, ok := windows[id]; ok && got.Frames == want.Frames && math.Abs(got.Temperature-want.Temperature) < 1e-6*want.Temperature {
					delete(windows, id)
				}
			})
		}
		return len(windows) == 0
	})
}

// poll gives what has been written and committed since the last call.
func (r *windowRecords) poll(b *testing.B, topic string, found func(id string, got totals)) {
	b.Helper()
	var requests []kafka.OffsetRequest
	for p := range backlogPartitions {
		requests = append(requests, kafka.LastOffsetOf(p))
	}
	offsets, err := r.client.ListOffsets(b.Context(), &kafka.ListOffsetsRequest{
		Topics: map[string][]kafka.OffsetRequest{topic: requests}, IsolationLevel: kafka.ReadCommitted,
	})
	if err != nil {
		b.Fatal(err)
	}
	if r.next[topic] == nil {
		r.next[topic] = make([]int64, backlogPartitions)
	}
	for _, p := range offsets.Topics[topic] {
		for r.next[topic][p.Partition] < p.LastOffset {
			r.next[topic][p.Partition] = r.fetch(b, topic, p.Partition, r.next[topic][p.Partition], p.LastOffset, found)
		}
	}
}

// fetch reads from an offset, and returns where to go on: at the end, if there
// was nothing but the marks of transactions.
func (r *windowRecords) fetch(b *testing.B, topic string, partition int, offset, end int64, found func(id string, got totals)) (next int64) {
	b.Helper()
	answer, err := r.client.Fetch(b.Context(), &kafka.FetchRequest{
		Topic: topic, Partition: partition, Offset: offset, MinBytes: 1, MaxBytes: 32 << 20, MaxWait: 10 * time.Millisecond, IsolationLevel: kafka.ReadCommitted,
	})
	if err == nil {
		err = answer.Error
	}
	if err != nil {
		b.Fatal(err)
	}
	next = end
	for {
		record, err := answer.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			return next
		}
		if err != nil {
			b.Fatal(err)
		}
		if record.Offset < offset {
			continue
		}
		next = record.Offset + 1
		var got totals
		id, err := io.ReadAll(record.Key)
		if err == nil {
			err = json.NewDecoder(record.Value).Decode(&got)
		}
		if err != nil {
			b.Fatal(err)
		}
		found(string(id), got)
	}
}

// awaitCommit waits until the group has committed all frames but, at most, the
// last of each sensor, which is in a window that has not closed.
func awaitCommit(b *testing.B, client *kafka.Client, group string, g *generator) {
	b.Helper()
	partitions := make([]int, backlogPartitions)
	for p := range partitions {
		partitions[p] = p
	}
	await.True(b, 30*time.Second, group+" has committed", func() bool {
		ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
		defer cancel()
		answer, err := client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{framesTopic: partitions}})
		if err != nil {
			b.Fatal(err)
		}
		return !slices.ContainsFunc(answer.Topics[framesTopic], func(p kafka.OffsetFetchPartition) bool {
			return p.CommittedOffset < g.ends[p.Partition]-g.sensors[p.Partition]
		})
	})
}

func printWindows(results []windowResult) {
	rows := []table.Row{{fmt.Sprintf("%d frames, by sensor and place", backlogFrames), "cold, 1000 frames/s", "1000 frames/s", "CPU ms per 1000", "resident at most, MB"}}
	for _, r := range results {
		rows = append(rows, table.Row{r.name, fmt.Sprintf("%.0f", r.cold.rate()),
			spread(r.passes, "%.0f", windowPass.rate), spread(r.passes, "%.1f", windowPass.cost), fmt.Sprintf("%.0f", r.peak)})
	}
	printTable(fmt.Sprintf("Windows, %d passes: least / median / greatest", *windowPasses), rows)
}
