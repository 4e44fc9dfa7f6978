//go:build integration

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/simulator/verify"
)

const (
	chaosPartitions = 4
	chaosSession    = 6 * time.Second // kafka.session_timeout: the least that brokers allow
	chaosStream     = 50 * time.Second
)

// seedVariable sets the seed of the stream and of what is done to it.
const seedVariable = "TELLTALE_TEST_SEED"

// chaos is two ingest processes in one group that take a stream in while they
// and their servers are killed, stopped and restarted.
type chaos struct {
	t       *testing.T
	rng     *rand.Rand
	servers *servers
	brokers []string
	ingest  []*program
	stream  *stream
	begun   time.Time
	finish  chan struct{} // closed to let the stream end
	sending chan error

	counters map[string]float64 // of all processes, also of those that were killed
}

// startChaos starts the servers, two processes and the stream.
func startChaos(t *testing.T, replication int, brokers []string, names ...string) *chaos {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv(seedVariable); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
	}
	t.Logf("%s=%d", seedVariable, seed)
	sensors := streamSensors
	if isPython(t) {
		sensors /= 5
	}
	c := &chaos{
		t: t, rng: rand.New(rand.NewPCG(seed, 0)), brokers: brokers, servers: startServers(t, append(names, "mongo")...),
		stream: newStream(seed, sensors), begun: time.Now(), finish: make(chan struct{}), sending: make(chan error, 1),
		counters: make(map[string]float64),
	}
	dropDatabase(t)
	for i := range 2 {
		c.ingest = append(c.ingest, start(t, "telltale-ingest", "run", "--roles", "[aggregate, sink, metrics]",
			"--kafka-brokers", "["+strings.Join(brokers, ", ")+"]", "--kafka-partitions", strconv.Itoa(chaosPartitions), "--kafka-replication", strconv.Itoa(replication),
			"--kafka-session-timeout", chaosSession.String(), "--mongo-uri", mongoURI(), "--mongo-database", databaseName, "--mongo-frames-ttl", "0s",
			"--aggregate-window", streamWindow.String(), "--aggregate-idle", streamIdle.String(), "--aggregate-reorder", "1s", "--aggregate-retention", streamLatest.String(),
			"--metrics-max-devices", "0", "--metrics-listen", chaosMetrics(i))) // there is no MQTT broker to have devices' statuses from
	}
	for i := range c.ingest {
		await.True(t, 2*time.Minute, "ingest is ready", func() bool { return readyAt(chaosMetrics(i)) })
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.sending <- c.stream.send(ctx, t, brokers, chaosStream, c.finish)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return c
}

// chaosMetrics is where the i-th process serves its metrics.
func chaosMetrics(i int) string { return fmt.Sprintf("127.0.0.1:%d", 29470+i) }

// between lets a random time pass.
func (c *chaos) between(least, most time.Duration) {
	d := least + time.Duration(c.rng.Int64N(int64(most-least)))
	select {
	case <-time.After(d):
	case <-c.t.Context().Done():
	}
}

// log says what is done when.
func (c *chaos) log(format string, args ...any) {
	c.t.Helper()
	c.t.Logf("%4.1f s, %d of %d records: %s", time.Since(c.begun).Seconds(), c.stream.sent.Load(), len(c.stream.records), fmt.Sprintf(format, args...))
}

// kill kills one of the processes with SIGKILL, and starts it again soon, or after the
// group has noticed.
func (c *chaos) kill() {
	c.t.Helper()
	i := c.rng.IntN(len(c.ingest))
	c.count(i)
	c.log("kill -9 of process %d", i)
	c.ingest[i].kill()
	if c.rng.IntN(2) == 0 {
		c.between(chaosSession, chaosSession+2*time.Second)
	}
	c.ingest[i].spawn()
}

// zombie stops one of the processes until others have its partitions.
func (c *chaos) zombie() {
	c.t.Helper()
	i := c.rng.IntN(len(c.ingest))
	c.log("SIGSTOP of process %d", i)
	c.ingest[i].signal(syscall.SIGSTOP)
	c.between(chaosSession+time.Second, chaosSession+5*time.Second)
	c.ingest[i].signal(syscall.SIGCONT)
	c.log("SIGCONT of process %d", i)
}

// brokerRestart restarts the broker, and makes a zombie of a process that has
// stored windows meanwhile and could not produce them: its records come when
// others have long revised the windows.
func (c *chaos) brokerRestart() {
	c.t.Helper()
	c.log("the broker stops")
	c.servers.run("stop", "kafka")
	c.between(streamIdle+500*time.Millisecond, streamIdle+2*time.Second)
	i := c.rng.IntN(len(c.ingest))
	c.log("SIGSTOP of process %d", i)
	c.ingest[i].signal(syscall.SIGSTOP)
	c.servers.run("start", "kafka")
	c.log("the broker is back")
	c.between(chaosSession+2*time.Second, chaosSession+6*time.Second)
	c.ingest[i].signal(syscall.SIGCONT)
	c.log("SIGCONT of process %d", i)
}

func (c *chaos) mongoDown() {
	c.t.Helper()
	c.log("MongoDB is killed")
	c.servers.run("kill", "mongo")
	c.between(10*time.Second, 11*time.Second)
	c.servers.run("start", "mongo")
	c.log("MongoDB is back")
}

// do does what is given in a random order, with pauses.
func (c *chaos) do(what ...func()) {
	c.t.Helper()
	c.rng.Shuffle(len(what), func(i, j int) { what[i], what[j] = what[j], what[i] })
	for _, f := range what {
		c.between(500*time.Millisecond, 4*time.Second)
		f()
	}
}

// settle lets the stream end, and waits until all of it is read, stored and
// committed.
func (c *chaos) settle() {
	c.t.Helper()
	c.log("all is done")
	close(c.finish)
	if err := <-c.sending; err != nil {
		c.t.Fatal(err)
	}
	c.sending <- nil
	c.log("all is sent")
	client := &kafka.Client{Addr: kafka.TCP(c.brokers...)}
	last := time.Now()
	groups := map[string]string{"telltale-aggregate": "iot-frames", "telltale-sink": "iot-frames", "telltale-places": "iot-place-parts"}
	await.True(c.t, 4*time.Minute, "every group has committed all of its topic", func() bool {
		for group, topic := range groups {
			wanting := uncommitted(c.t, client, group, topic)
			if wanting == "" {
				delete(groups, group)
			}
			if time.Since(last) > 10*time.Second {
				last = time.Now()
				c.log("%s %s", group, wanting)
			}
		}
		return len(groups) == 0
	})
	c.log("all is committed")
}

// uncommitted says what of a topic a group has not committed yet.
func uncommitted(t *testing.T, client *kafka.Client, group, topic string) string {
	t.Helper()
	var partitions []int
	var ends []kafka.OffsetRequest
	for i := range chaosPartitions {
		partitions = append(partitions, i)
		ends = append(ends, kafka.LastOffsetOf(i))
	}
	offsets, err := client.OffsetFetch(t.Context(), &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: partitions}})
	if err = errors.Join(err, offsets.Error); err != nil {
		return err.Error()
	}
	list, err := client.ListOffsets(t.Context(), &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: ends}})
	if err != nil {
		return err.Error()
	}
	end := make(map[int]int64)
	for _, p := range list.Topics[topic] {
		end[p.Partition] = p.LastOffset
	}
	var wanting string
	for _, p := range offsets.Topics[topic] {
		if max(p.CommittedOffset, 0) < end[p.Partition] { // -1 is none
			wanting += fmt.Sprintf("%d: %d of %d ", p.Partition, p.CommittedOffset, end[p.Partition])
		}
	}
	return wanting
}

// check holds everything stored against the oracle.
func (c *chaos) check() {
	t := c.t
	t.Helper()
	defer c.log("all is compared")
	report := awaitEqual(t, c.stream.journal, c.brokers, verify.Rules{Window: streamWindow, Retention: streamLatest})
	if n := c.stream.journal.Len(); report.Sampled != n || report.Windowed+report.Late != n || report.Late == 0 {
		t.Errorf("%d frames were sent: got %s, late %d", n, report, report.Late)
	}
	letters := make(map[string]string)
	for _, r := range readTopic(t, c.brokers[0], "iot-dead-letter") {
		for _, h := range r.Headers {
			if h.Key == "reason" {
				letters[string(r.Value)] = string(h.Value)
			}
		}
	}
	if !maps.Equal(letters, c.stream.refused) {
		t.Errorf("%d different dead letters, want %d:\n%s", len(letters), len(c.stream.refused), difference(letters, c.stream.refused))
	}
	for i := range c.ingest {
		c.count(i)
	}
	for _, name := range slices.Sorted(maps.Keys(c.counters)) {
		t.Logf("%s %v", name, c.counters[name])
	}
	for _, name := range []string{ // nothing is proved unless these happened
		`telltale_aggregate_frames_total{outcome="duplicate"}`, `telltale_aggregate_late_frames_total`,
		`telltale_aggregate_windows_stored_total{by="sensor",kind="revised"}`, `telltale_aggregate_windows_stored_total{by="place",kind="revised"}`,
		`telltale_sink_frames_duplicate_total`,
	} {
		if c.counters[name] == 0 {
			t.Errorf("%s is 0", name)
		}
	}
	for name := range c.counters {
		if strings.Contains(name, "_rejected_total") || strings.Contains(name, `outcome="invalid"`) || strings.Contains(name, "window_full") || strings.Contains(name, "stored_window_invalid") {
			t.Errorf("%s is %v, want none", name, c.counters[name])
		}
	}
}

// awaitEqual waits until everything stored is what the journal's frames give, and
// shows what is not.
func awaitEqual(t *testing.T, journal *verify.Journal, brokers []string, rules verify.Rules) *verify.Report {
	t.Helper()
	sources := verify.Sources{Brokers: brokers, MongoURI: mongoURI(), Database: databaseName}
	report, err := verify.Await(t.Context(), journal, sources, rules, 4*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s, late %d", report, report.Late)
	for i, finding := range report.Findings {
		if i == 20 {
			t.Errorf("... and %d more", len(report.Findings)-i)
			break
		}
		t.Error(finding)
	}
	return report
}

// difference shows some of what only one of two maps has.
func difference(got, want map[string]string) string {
	var lines []string
	for value, reason := range got {
		if want[value] != reason {
			lines = append(lines, fmt.Sprintf("got %s: %.200q", reason, value))
		}
	}
	for value, reason := range want {
		if got[value] != reason {
			lines = append(lines, fmt.Sprintf("want %s: %.200q", reason, value))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines[:min(len(lines), 10)], "\n")
}

var counterLine = regexp.MustCompile(`(?m)^(telltale_(?:aggregate|sink)_\w+_total\S*) (\S+)$`)

// count adds up the counters of a process that is about to end.
func (c *chaos) count(i int) {
	c.t.Helper()
	var text []byte
	await.True(c.t, time.Minute, "the counters of a process", func() bool {
		response, err := http.Get("http://" + chaosMetrics(i) + "/metrics")
		if err != nil {
			return false // it has just been started
		}
		defer response.Body.Close()
		text, err = io.ReadAll(response.Body)
		return err == nil
	})
	for _, match := range counterLine.FindAllStringSubmatch(string(text), -1) {
		value, err := strconv.ParseFloat(match[2], 64)
		if err != nil {
			c.t.Fatal(err)
		}
		c.counters[match[1]] += value
	}
}

// TestChaos takes 200,000 records of frames in, doubled, late and disordered, with
// two processes of one group, while these are killed and stopped for longer than their
// session, and their broker and database go away and return. In the end every
// document, and the last record of every window, is what the distinct frames give.
func TestChaos(t *testing.T) {
	c := startChaos(t, 1, []string{kafkaAddr}, "kafka")
	c.between(2*time.Second, 5*time.Second)
	c.do(c.brokerRestart) // while nobody lags: what the zombie has is then not yet whole
	c.do(c.kill, c.kill, c.zombie, c.mongoDown)
	c.settle()
	c.check()
}
