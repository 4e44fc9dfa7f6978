package bridge

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

const (
	// maxLetter is how much of an original a dead letter keeps.
	maxLetter = 64 << 10

	// maxRejected is how much it keeps of what Kafka would not take, so that
	// the letter does not meet the same end.
	maxRejected = 1 << 10
)

// letter returns the dead letter of original, cut to limit bytes.
func letter(original []byte, limit int, now int64, reason, detail, topic, device string) kafka.Record {
	r := kafka.Record{
		Key:   []byte(topic),
		Value: original,
		Headers: []kafka.Header{
			{Key: headerReason, Value: []byte(reason)},
			{Key: headerDetail, Value: []byte(detail)},
			{Key: headerTopic, Value: []byte(topic)},
			{Key: headerDevice, Value: []byte(device)},
		},
		Time: now,
	}
	return cut(r, limit)
}

// cut cuts the value of a dead letter and tells how long it was, once.
func cut(r kafka.Record, limit int) kafka.Record {
	if len(r.Value) <= limit {
		return r
	}
	if header(r, headerOriginal) == "" {
		r.Headers = append(r.Headers, kafka.Header{Key: headerOriginal, Value: strconv.AppendInt(nil, int64(len(r.Value)), 10)})
	}
	r.Value = r.Value[:limit]
	return r
}

func header(r kafka.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// Pauses between attempts to write what stands for rejected records.
const (
	redirectPauseMin = 500 * time.Millisecond
	redirectPauseMax = 30 * time.Second
)

// redirect writes a dead letter, and the loss if the frame has an identity, for
// each record that Kafka rejected. Should it reject these too, its topics are
// not fit for their purpose; as there is then nowhere left to put anything, it
// is tried until ctx ends.
func (b *Bridge) redirect(ctx context.Context, of *kafka.Batch, rejected *kafka.RejectedError) error {
	var letters batch
	for _, i := range rejected.Records {
		topic, r := of.Record(i)
		if topic == DeadLetterTopic {
			letters.records.Append(DeadLetterTopic, cut(r, maxRejected))
			continue
		}
		b.reject(&letters, r, rejected.Err)
	}
	pause := &backoff.ExponentialBackOff{
		InitialInterval: redirectPauseMin, MaxInterval: redirectPauseMax,
		Multiplier: backoff.DefaultMultiplier, RandomizationFactor: backoff.DefaultRandomizationFactor,
	}
	for said := false; ; said = true {
		err := b.options.Producer.Produce(ctx, &letters.records)
		var again *kafka.RejectedError
		if !errors.As(err, &again) {
			return err
		}
		b.options.Metrics.Retried(reasonRejected)
		if !said {
			b.log.Error("kafka rejects dead letters; the bridge stands still until it takes them", "error", again)
		}
		t := time.NewTimer(pause.NextBackOff())
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		}
	}
}

// reject puts into out what stands for a frame that Kafka does not take.
func (b *Bridge) reject(out *batch, r kafka.Record, cause error) {
	device := header(r, headerDevice)
	in := intake{out: out, device: device, topic: b.options.SeedTopic, now: r.Time}
	in.init(&b.options)
	if device != "" {
		in.topic = telemetry.Topic(device, telemetry.Frames)
	}
	b.options.Metrics.deadLetters.WithLabelValues(reasonRejected).Inc()
	out.records.Append(DeadLetterTopic, letter(r.Value, maxRejected, r.Time, reasonRejected, cause.Error(), in.topic, device))
	var f telemetry.Frame
	if err := in.decoder.Decode(r.Value, &f); err == nil {
		in.declare(&f, reasonRejected)
	}
}
