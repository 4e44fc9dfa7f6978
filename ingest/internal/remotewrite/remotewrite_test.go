package remotewrite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// counted returns the values of a counter's series by their label, or by "".
func counted(t testing.TB, r *prometheus.Registry, name string) map[string]float64 {
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "telltale_remote_write_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			label := ""
			for _, l := range m.GetLabel() {
				label = l.GetValue()
			}
			values[label] = m.GetCounter().GetValue()
		}
	}
	return values
}

func TestAFrameBecomesSamplesInBaseUnits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := telemetry.Frame{ID: "greenhouse-7", Name: "Greenhouse 7", PlaceID: "house-2", Timestamp: start + 123, Sequenced: true, Epoch: 1}
		f.Payload.Set(telemetry.Temperature, 21_370_000)
		f.Payload.Set(telemetry.Humidity, 44_200_000)
		f.Payload.Set(telemetry.Pressure, 1_013_250_000)
		f.Payload.Set(telemetry.Luminosity, 312_500_000)
		bare := telemetry.Frame{ID: "bare", Timestamp: start, Clock: telemetry.ClockUnsynced}
		bare.Faults[telemetry.Temperature] = "nack"
		receiver := newTwin()
		registry := run(t, receiver, &source{batch: 10, messages: []kafka.Message{
			message(&f), message(&bare),
			message(&telemetry.Frame{ID: "bare", Epoch: 1, Lost: telemetry.Loss{Seqs: telemetry.SeqRange{First: 1, Last: 2}, Reason: "power_cut"}}),
			{Record: kafka.Record{Value: []byte("poison")}},
		}}, 100)
		at := func(metric string) string {
			return fmt.Sprintf(`{__name__=%q,place_id="house-2",sensor_id="greenhouse-7",sensor_name="Greenhouse 7"}`, metric)
		}
		want := []sample{
			{at("telltale_temperature_celsius"), start + 123, 21.37},
			{at("telltale_relative_humidity_ratio"), start + 123, 0.442},
			{at("telltale_pressure_pascals"), start + 123, 101325},
			{at("telltale_illuminance_lux"), start + 123, 312.5},
			{at("telltale_reading_timestamp_seconds"), start + 123, 1763870400.123},
			{`{__name__="telltale_reading_timestamp_seconds",sensor_id="bare"}`, start, 1763870400},
		}
		if diff := cmp.Diff(want, receiver.taken, cmp.AllowUnexported(sample{})); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if got := counted(t, registry, "records_skipped_total"); !maps.Equal(got, map[string]float64{"loss": 1, "undecodable": 1}) {
			t.Errorf("skipped %v", got)
		}
		if err := testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP telltale_remote_write_newest_sample_timestamp_seconds Unix time of the newest sample that the receiver has taken from this process, 0 before the first.
# TYPE telltale_remote_write_newest_sample_timestamp_seconds gauge
telltale_remote_write_newest_sample_timestamp_seconds 1.763870400123e+09
# HELP telltale_remote_write_samples_sent_total Samples that the receiver has taken.
# TYPE telltale_remote_write_samples_sent_total counter
telltale_remote_write_samples_sent_total 6
`), "telltale_remote_write_newest_sample_timestamp_seconds", "telltale_remote_write_samples_sent_total"); err != nil {
			t.Error(err)
		}
		if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
			t.Errorf("lint: %v, %v", problems, err)
		}
	})
}

// TestEverySampleIsTakenOrCounted is the promise: whatever the receiver answers,
// each sample is there in the end, in the order of its series, or counted as
// refused by its reason; and no offset is committed before.
func TestEverySampleIsTakenOrCounted(t *testing.T) {
	faults := rapid.SampledFrom([]fault{
		{}, {}, {wait: 2 * time.Second},
		{status: 500}, {status: 503, after: "7"}, {status: 429, after: "3"}, {status: 429, after: "-1"},
		{status: 401}, {status: 404}, {status: 301}, {status: 504, stored: true},
		{hang: true}, {hang: true, stored: true}, {broken: true}, {broken: true, stored: true},
	})
	poisons := rapid.SampledFrom([]struct {
		reason, text string
		status       int
	}{
		{"out_of_order", "out of order sample", 400}, {"duplicate_timestamp", "duplicate sample for timestamp", 409},
		{"out_of_bounds", "out of bounds", 400}, {"status_422", "no", 422}, {"status_400", "", 400}, {"status_413", "too large", 413},
	})
	rapid.Check(t, func(r *rapid.T) {
		src := &source{batch: rapid.IntRange(1, 40).Draw(r, "fetch")}
		var all []sample
		poisoned := map[sample]int{} // to the index of the reason
		kinds := rapid.SliceOfN(poisons, 1, 3).Draw(r, "poisons")
		frames := rapid.IntRange(1, 60).Draw(r, "frames")
		for i := range frames {
			sensor := fmt.Sprintf("s%d", rapid.IntRange(0, 3).Draw(r, "sensor"))
			at := start + int64(i)*10
			src.messages = append(src.messages, reading(sensor, at))
			for _, s := range []sample{
				{series("telltale_temperature_celsius", sensor), at, float64(at-start) / 1e3},
				{series("telltale_reading_timestamp_seconds", sensor), at, float64(at) / 1e3},
			} {
				all = append(all, s)
				if rapid.IntRange(0, 9).Draw(r, "poison") == 0 {
					poisoned[s] = rapid.IntRange(0, len(kinds)-1).Draw(r, "kind")
				}
			}
		}
		script := rapid.SliceOfN(faults, 0, 30).Draw(r, "faults")
		receiver := newTwin()
		receiver.fault = func() fault {
			if len(script) == 0 {
				return fault{}
			}
			f := script[0]
			script = script[1:]
			return f
		}
		receiver.refuse = func(s sample) (int, string) {
			if kind, ok := poisoned[s]; ok {
				return kinds[kind].status, kinds[kind].text
			}
			return 0, ""
		}
		has := func(s sample) bool { v, ok := receiver.stored[s.series][s.timestamp]; return ok && v == s.value }
		src.commit = func(offset int64) error {
			for _, s := range all[:2*offset] {
				if _, bad := poisoned[s]; !bad && !has(s) {
					r.Fatalf("offset %d is committed, %v is not delivered", offset, s)
				}
			}
			return nil
		}
		var registry *prometheus.Registry
		synctest.Test(t, func(t *testing.T) { registry = run(t, receiver, src, rapid.IntRange(MinBatch, 50).Draw(r, "batch")) })

		refused := map[string]float64{}
		for _, s := range all {
			if kind, bad := poisoned[s]; bad {
				refused[kinds[kind].reason]++
			} else if !has(s) {
				r.Errorf("%v is not there", s)
			}
		}
		if got := counted(t, registry, "samples_refused_total"); !maps.Equal(got, refused) {
			r.Errorf("refused %v, want %v", got, refused)
		}
		if got := counted(t, registry, "samples_sent_total")[""]; got != float64(len(all)-len(poisoned)) {
			r.Errorf("sent %v, want %d", got, len(all)-len(poisoned))
		}
		newest := map[string]int64{}
		seen := map[sample]bool{}
		for _, s := range receiver.taken {
			if !seen[s] && s.timestamp < newest[s.series] {
				r.Errorf("%v comes after a newer one", s)
			}
			seen[s], newest[s.series] = true, max(newest[s.series], s.timestamp)
		}
		if n := len(src.commits); n == 0 || src.commits[n-1] != int64(frames) {
			r.Errorf("committed %v, want %d in the end", src.commits, frames)
		}
	})
}

// A backlog is read in whatever order it came, and sent in that of time.
func TestABatchIsSorted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := newTwin()
		receiver.ordered()
		src := &source{batch: 100}
		for _, i := range []int64{3, 1, 2, 0, 4} {
			src.messages = append(src.messages, reading("a", start+i))
		}
		registry := run(t, receiver, src, 100)
		if got := counted(t, registry, "samples_refused_total"); len(got) > 0 || len(receiver.stored[series("telltale_temperature_celsius", "a")]) != 5 {
			t.Errorf("refused %v of a batch that is sent in order, stored %v", got, receiver.stored)
		}
	})
}

// TestSamplesBeforeTheWindow replays a long outage to a Prometheus that takes a
// part of it: what it takes is all there, what it refuses is counted, and that
// costs few requests.
func TestSamplesBeforeTheWindow(t *testing.T) {
	for _, status := range []int{http.StatusInternalServerError, http.StatusBadRequest} {
		for _, old := range []int{1, 500, 999} {
			t.Run(fmt.Sprintf("%d with status %d", old, status), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const window, n = time.Hour, 1000
					receiver := newTwin()
					receiver.window(window, status)
					newest := start + 10*window.Milliseconds()
					receiver.take([]sample{{"{newer}", newest, 1}})
					src := &source{batch: 2 * n}
					for i := range n {
						src.messages = append(src.messages, reading("a", newest-window.Milliseconds()+int64(i-old)))
					}
					src.messages = append(src.messages, reading("b", newest))
					registry := run(t, receiver, src, 10_000)
					if got := counted(t, registry, "samples_refused_total"); !maps.Equal(got, map[string]float64{"too_old": 2 * float64(old)}) {
						t.Errorf("refused %v, want %d of each of two series", got, old)
					}
					for metric, value := range map[string]func(int64) float64{
						"telltale_temperature_celsius":       func(at int64) float64 { return float64(at-start) / 1e3 },
						"telltale_reading_timestamp_seconds": func(at int64) float64 { return float64(at) / 1e3 },
					} {
						stored := receiver.stored[series(metric, "a")]
						for i := old; i < n; i++ {
							at := newest - window.Milliseconds() + int64(i-old)
							if got, ok := stored[at]; !ok || got != value(at) {
								t.Fatalf("%s at %d is %v, %t", metric, at, got, ok)
							}
						}
						if len(stored) != n-old {
							t.Errorf("%d samples stored, want %d", len(stored), n-old)
						}
						if len(receiver.stored[series(metric, "b")]) != 1 {
							t.Error("the samples of another sensor are not there")
						}
					}
					if receiver.requests > 60 {
						t.Errorf("%d requests, want some for each halving", receiver.requests)
					}
				})
			})
		}
	}
}

// A Prometheus without a window takes what is newer than what it has, and no
// more must be refused for the way in which a request is divided.
func TestSamplesOutOfOrder(t *testing.T) {
	for have := range 8 {
		synctest.Test(t, func(t *testing.T) {
			receiver := newTwin()
			receiver.ordered()
			for _, metric := range []string{"telltale_temperature_celsius", "telltale_reading_timestamp_seconds"} {
				receiver.take([]sample{{series(metric, "a"), start + int64(have), 0}})
			}
			src := &source{batch: 100}
			for i := range int64(8) {
				src.messages = append(src.messages, reading("a", start+i))
			}
			registry := run(t, receiver, src, 100)
			if got := counted(t, registry, "samples_refused_total")["out_of_order"]; got != 2*float64(have) {
				t.Errorf("refused %v, want %d of each of two series", got, have)
			}
			got := slices.Sorted(maps.Keys(receiver.stored[series("telltale_temperature_celsius", "a")]))
			if len(got) != 8-have || got[0] != start+int64(have) {
				t.Errorf("stored %v with %d there", got, have)
			}
		})
	}
}

// While the receiver is away nothing is committed, and Ready says so.
func TestTheReceiverIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		w, err := New(Options{URL: "http://receiver", Timeout: time.Second, Batch: 100, BatchAge: time.Second, Registry: registry})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		src := &source{batch: 1, messages: []kafka.Message{reading("a", start)}, end: cancel}
		began := time.Now()
		receiver := newTwin()
		receiver.fault = func() fault {
			if time.Since(began) < 24*time.Hour {
				return fault{broken: true}
			}
			if err := w.Ready(ctx); err == nil || !strings.Contains(err.Error(), "unexpected EOF") {
				t.Errorf("Ready says %v after a day without a receiver", err)
			}
			if len(src.commits) > 0 {
				t.Errorf("committed %v", src.commits)
			}
			return fault{}
		}
		w.receiver.client.Transport = receiver
		if err := w.Frames(ctx, src); err != nil {
			t.Fatal(err)
		}
		retries := counted(t, registry, "retries_total")
		if n := retries["connection"]; len(retries) != 1 || n < 24*60*4 || n > 24*60*20 {
			t.Errorf("%v retries in a day, want one each 5 to 15 s", retries)
		}
		if err := w.Ready(ctx); err != nil {
			t.Errorf("Ready says %v when the receiver is back", err)
		}
		if len(receiver.taken) != 2 || !slices.Equal(src.commits, []int64{1}) {
			t.Errorf("taken %v, committed %v", receiver.taken, src.commits)
		}
	})
}

// A receiver that is away and then does not take the credentials keeps every
// sample, and each of the two is said once; of the second, for all partitions.
func TestCredentialsThatAreNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		registry := prometheus.NewRegistry()
		w, err := New(Options{
			URL: "http://receiver/write", Header: http.Header{"Authorization": {"Bearer hunter2"}}, Timeout: time.Second, Batch: 100, Registry: registry,
			Logger: slog.New(slog.NewTextHandler(&locked{w: &log}, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		receiver := newTwin()
		receiver.fault = func() fault {
			switch since := time.Since(began); {
			case since < time.Hour:
				return fault{broken: true}
			case since < 24*time.Hour:
				return fault{status: http.StatusUnauthorized}
			}
			return fault{}
		}
		w.receiver.client.Transport = &locked{receiver: receiver}
		<-time.After(time.Millisecond)
		var parts sync.WaitGroup
		for i := range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			src := &source{id: i, batch: 1, end: cancel}
			for at := range int64(300) {
				src.messages = append(src.messages, reading(strconv.Itoa(i), start+at))
			}
			parts.Go(func() {
				if err := w.Frames(ctx, src); err != nil {
					t.Error(err)
				}
			})
		}
		<-time.After(12 * time.Hour)
		if err := w.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "the remote write receiver at receiver does not take our credentials") {
			t.Errorf("Ready says %v", err)
		}
		parts.Wait()
		if retries := counted(t, registry, "retries_total"); len(receiver.taken) != 2*3*300 || retries["status_401"] < 1000 || len(counted(t, registry, "samples_refused_total")) != 0 {
			t.Errorf("%d samples taken, want %d; retries %v", len(receiver.taken), 2*3*300, retries)
		}
		got := log.String()
		for phrase, want := range map[string]int{
			"level=WARN": 3, `level=ERROR msg="refused by a server; retrying" server="remote write" reason=status_401 error="the remote write receiver at receiver does not take our credentials: `: 1,
			"level=ERROR": 1, "the receiver answers again": 3, `msg="no longer refused by a server" server="remote write" reason=status_401`: 1, "hunter2": 0,
		} {
			if n := strings.Count(got, phrase); n != want {
				t.Errorf("%d times %s, want %d:\n%s", n, phrase, want, got)
			}
		}
	})
}

// locked lets several goroutines use a writer or a receiver.
type locked struct {
	mu       sync.Mutex
	w        io.Writer
	receiver http.RoundTripper
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (l *locked) RoundTrip(r *http.Request) (*http.Response, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.receiver.RoundTrip(r)
}

func TestRetryAfterIsHonoured(t *testing.T) {
	for _, tt := range []struct {
		fault fault
		want  time.Duration
	}{
		{fault{status: 429, after: "90"}, 90 * time.Second},
		{fault{status: 503, after: "31536000"}, maxRetryAfter},
	} {
		synctest.Test(t, func(t *testing.T) {
			receiver := newTwin()
			var at []time.Time
			receiver.fault = func() fault {
				if at = append(at, time.Now()); len(at) == 1 {
					return tt.fault
				}
				return fault{}
			}
			run(t, receiver, &source{batch: 1, messages: []kafka.Message{reading("a", start)}}, 100)
			if len(at) != 2 || at[1].Sub(at[0]) != tt.want {
				t.Errorf("requests at %v, want two, %s apart", at, tt.want)
			}
		})
	}
}

// Under a steady stream that always leaves a batch begun, offsets are committed.
func TestCommitsUnderAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &source{batch: 7}
		for i := range int64(700) {
			src.messages = append(src.messages, reading("a", start+i))
		}
		run(t, newTwin(), src, 10)
		if len(src.commits) < 10 || !slices.IsSorted(src.commits) {
			t.Errorf("committed %v in 25 s", src.commits)
		}
	})
}

func TestAPartitionThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &source{batch: 1, messages: []kafka.Message{reading("a", start)}}
		src.commit = func(int64) error {
			time.AfterFunc(time.Second, src.end) // the group's heartbeat notices later
			return kafka.ErrNotOwner
		}
		run(t, newTwin(), src, 100)
	})
}

func TestFramesReturnsTheSourcesError(t *testing.T) {
	w, err := New(Options{URL: "http://receiver", Timeout: time.Second, Batch: 100, Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Frames(t.Context(), &failing{}); !errors.Is(err, errFailing) {
		t.Errorf("Frames returned %v", err)
	}
}

var errFailing = errors.New("broken")

type failing struct{ source }

func (*failing) Fetch(context.Context) ([]kafka.Message, error) { return nil, errFailing }

func TestOptionsAreChecked(t *testing.T) {
	good := Options{URL: "http://receiver", Timeout: time.Second, Batch: MinBatch, Registry: prometheus.NewRegistry()}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Options){
		"no URL":       func(o *Options) { o.URL = "" },
		"no registry":  func(o *Options) { o.Registry = nil },
		"small batch":  func(o *Options) { o.Batch = MinBatch - 1 },
		"negative age": func(o *Options) { o.BatchAge = -1 },
		"no timeout":   func(o *Options) { o.Timeout = 0 },
		"registered":   func(*Options) {},
	} {
		o := good
		spoil(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s: New takes it", name)
		}
	}
}
