package aggregate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/telltale-iot/telltale/ingest/internal/deadletter"
	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/ingest/internal/window"
)

// chunk is how many windows are stored at a time, which bounds what is encoded
// and not yet produced.
const chunk = 500

// commitEvery is how often a commit that no window waits for is made at most.
const commitEvery = time.Second

// output is the producing and committing side of one partition.
type output struct {
	*Aggregate
	by     string
	source Source
	batch  kafka.Batch

	produced    map[string]int64 // revision of the windows produced since the last commit
	committed   int64            // where the partition is read from again
	committedAt time.Time
}

func newOutput(a *Aggregate, by string, source Source) output {
	return output{Aggregate: a, by: by, source: source, produced: make(map[string]int64), committed: source.Next(), committedAt: a.now()}
}

// letter adds a dead letter for m.
func (o *output) letter(topic string, m *kafka.Message, reason, detail string) {
	o.metrics.letters.WithLabelValues(reason).Inc()
	o.log.Debug("dead letter", "topic", topic, "partition", o.source.ID(), "offset", m.Offset, "reason", reason, "detail", detail)
	deadletter.Append(&o.batch, deadletter.Letter{
		Topic: topic, Device: string(m.Header("device")), Reason: reason, Detail: detail,
		Key: m.Key, Payload: m.Value, Time: o.now().UnixMilli(),
	})
}

// document adds a window's record.
func (o *output) document(topic string, d *window.Document) error {
	value, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("aggregate: window %s: %w", d.ID, err)
	}
	o.batch.Append(topic, kafka.Record{Key: []byte(d.ID), Value: value, Time: o.now().UnixMilli()})
	o.produced[d.ID] = d.Revision
	return nil
}

// part adds the record that tells a place of a sensor's window.
func (o *output) part(p *window.Part) error {
	value, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("aggregate: part %s: %w", p.ID(), err)
	}
	// All parts of a place are in one partition, which its key alone would not
	// bring about.
	o.batch.Append(PartsTopic, kafka.Record{Key: []byte(p.ID()), PartitionKey: []byte(p.Place), Value: value, Time: o.now().UnixMilli()})
	return nil
}

// produce writes the records added, and empties the batch.
func (o *output) produce(ctx context.Context) error {
	if o.batch.Len() == 0 {
		return nil
	}
	defer o.batch.Reset()
	var rejected *kafka.RejectedError
	err := o.retry(ctx, "produce", func(ctx context.Context) error {
		err := o.options.Producer.Produce(ctx, &o.batch)
		if errors.As(err, &rejected) {
			return nil
		}
		return err
	})
	if err == nil && rejected != nil {
		for _, i := range rejected.Records {
			topic, record := o.batch.Record(i)
			o.metrics.rejected.WithLabelValues(o.by, "record").Inc()
			o.log.Error("Kafka will not take a record", "topic", topic, "key", string(record.Key), "length", len(record.Value), "error", rejected.Err)
		}
	}
	return err
}

// commit sets offset as the one from which the partition is read again. A
// commit that follows a produce is never left out: it proves that no other
// owner had stored and produced before.
func (o *output) commit(ctx context.Context, offset int64) error {
	now := o.now()
	if len(o.produced) == 0 && (offset == o.committed || now.Sub(o.committedAt) < commitEvery) {
		return nil
	}
	if err := o.source.Commit(ctx, offset); err != nil {
		return err
	}
	o.committed, o.committedAt = offset, now
	clear(o.produced)
	return nil
}

// refused counts and logs a stored window that cannot be read or published.
func (o *output) refused(id string, err error) {
	o.metrics.rejected.WithLabelValues(o.by, "window").Inc()
	o.log.Error("a window is refused", "window", id, "by", o.by, "partition", strconv.Itoa(o.source.ID()), "error", err)
}

// reject counts a window that will never be stored, and keeps its record as a
// dead letter: its frames are in no window.
func (o *output) reject(topic string, d *window.Document, reason string, cause error) error {
	o.refused(d.ID, cause)
	value, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("aggregate: window %s: %w", d.ID, err)
	}
	o.letter(topic, &kafka.Message{Record: kafka.Record{Key: []byte(d.ID), Value: value}}, reason, cause.Error())
	return nil
}

// Why a window will never be stored.
const (
	rejectedByStore     = "rejected_by_store"
	storedWindowInvalid = "stored_window_invalid"
)
