//go:build integration

package mongo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/ingest/internal/sink"
	"github.com/telltale-iot/telltale/ingest/internal/window"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// letters is a sink.Producer that keeps what it is given.
type letters []string

func (l *letters) Produce(_ context.Context, b *kafka.Batch) error {
	for i := range b.Len() {
		topic, r := b.Record(i)
		m := kafka.Message{Record: r}
		*l = append(*l, fmt.Sprintf("%s %s: %s: %s", topic, m.Header("reason"), r.Value, m.Header("detail")))
	}
	return nil
}

// source is a sink.Source that gives messages once, and later ends its context.
type source struct {
	messages []kafka.Message
	end      context.CancelFunc
}

func (s *source) ID() int     { return 0 }
func (s *source) Next() int64 { return 0 }
func (s *source) Lag() int64  { return 0 }

func (s *source) Commit(context.Context, int64) error { return nil }

func (s *source) Fetch(context.Context) ([]kafka.Message, error) {
	messages := s.messages
	if s.messages = nil; messages == nil {
		s.end() // what was fetched before is written by now
	}
	return messages, nil
}

// TestPoison: a frame that the server refuses is a dead letter with the
// server's reason, and keeps none of its neighbours.
func TestPoison(t *testing.T) {
	c, _ := connect(t)
	// The rule of an administrator who believes no temperature above 100 °C.
	hot := bson.D{{Key: "payload.temperature", Value: bson.D{{Key: "$not", Value: bson.D{{Key: "$gt", Value: 100}}}}}}
	if err := databaseOf(t, c).CreateCollection(t.Context(), frames, options.CreateCollection().SetValidator(hot)); err != nil {
		t.Fatal(err)
	}
	const form = `{"id":"a","timestamp":%d,"epoch":1,"seq":%d,"payload":{"temperature":%d}}`
	ctx, cancel := context.WithCancel(t.Context())
	from := &source{end: cancel}
	for seq, temperature := range []int{20, 101, 21, 1000} {
		value := fmt.Appendf(nil, form, testStart+seq, seq, temperature)
		from.messages = append(from.messages, kafka.Message{Offset: int64(seq), Record: kafka.Record{Key: []byte("a"), Value: value}})
	}
	var got letters
	s, err := sink.New(sink.Options{Store: c, Producer: &got, Batch: 10, Registry: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Frames(ctx, from); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	for i, seq := range []int{1, 3} {
		want := "iot-dead-letter rejected_by_store: " + fmt.Sprintf(form, testStart+seq, seq, []int{20, 101, 21, 1000}[seq]) + fmt.Sprintf(`: mongo: iot_frames: "a/1/%d": `, seq)
		if len(got) != 2 || !strings.HasPrefix(got[i], want) || !strings.Contains(got[i], "ailed validation") {
			t.Errorf("letters %q, want %s and why", got, want)
		}
	}
	stored := strings.Join(read(t, c, frames), "\n")
	if strings.Count(stored, `"_id"`) != 2 || !strings.Contains(stored, `"_id":"a/1/0"`) || !strings.Contains(stored, `"_id":"a/1/2"`) {
		t.Errorf("stored:\n%s", stored)
	}
}

// TestRefusedWindows: of a first revision and a later one, by the server.
func TestRefusedWindows(t *testing.T) {
	c, _ := connect(t)
	rule := bson.D{{Key: "count_measures", Value: bson.D{{Key: "$lt", Value: 3}}}}
	if err := databaseOf(t, c).CreateCollection(t.Context(), sensors, options.CreateCollection().SetValidator(rule)); err != nil {
		t.Fatal(err)
	}
	put := func(want string, documents ...*window.Document) {
		t.Helper()
		answers, err := c.PutSensors(t.Context(), documents)
		if got := outcome(answers, err, window.ErrConflict); got != want {
			t.Errorf("%s (%v, %v), want %s", got, answers, err, want)
		}
	}
	put("stored refused", document(t, counted(t, "a", 0, 1), 1), document(t, counted(t, "b", 0, 1, 2), 1))
	put("refused stored there", document(t, counted(t, "a", 0, 1, 2), 2), document(t, counted(t, "c", 0), 2), document(t, counted(t, "c", 0), 2))
}

// TestLargest: the largest document that is sent is one that the server takes,
// alone and beside another; one that is larger is not sent.
func TestLargest(t *testing.T) {
	c, _ := connect(t)
	sized := func(n, size int) sink.Frame {
		f := frame("a", n)
		f.Name = ""
		empty, err := bson.Marshal(frameDocument(telemetry.FrameID(&f.Frame), &f))
		if err != nil {
			t.Fatal(err)
		}
		f.Name = strings.Repeat("x", size-len(empty))
		return f
	}
	answers, err := c.PutFrames(t.Context(), []sink.Frame{sized(0, maxDocument), sized(1, maxDocument), sized(2, maxDocument+1), frame("a", 3)})
	if got := outcome(answers, err, sink.ErrDuplicate); got != "stored stored refused stored" {
		t.Errorf("%s (%v, %v)", got, answers, err)
	}
	replaced := func(revision int64) *window.Document {
		d := document(t, counted(t, "a", 0), revision)
		d.Fields = append(d.Fields, window.Field{Name: "padding", Value: strings.Repeat("x", maxDocument-4096)})
		return d
	}
	for revision := range int64(2) {
		answers, err = c.PutSensors(t.Context(), []*window.Document{replaced(revision + 1)})
		if got := outcome(answers, err, window.ErrConflict); got != "stored" {
			t.Errorf("revision %d: %s (%v, %v)", revision+1, got, answers, err)
		}
	}
}
