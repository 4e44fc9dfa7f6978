package bridge

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/telltale-iot/telltale/ingest/internal/deadletter"
	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// maxRejected is how much is kept of what Kafka would not take, so that its dead
// letter does not meet the same end.
const maxRejected = 1 << 10

// letter adds a dead letter to the message's batch.
func (in *intake) letter(original []byte, reason, detail string) {
	in.options.Metrics.deadLetters.WithLabelValues(reason).Inc()
	deadletter.Append(&in.out.records, deadletter.Letter{
		Topic: in.topic, Device: in.device, Reason: reason, Detail: detail, Key: []byte(in.topic), Payload: original, Time: in.now,
	})
}

// cut cuts the value of a dead letter to maxRejected and tells how long it was,
// if it does not already.
func cut(r kafka.Record) kafka.Record {
	if len(r.Value) <= maxRejected {
		return r
	}
	if header(r, headerOriginal) == "" {
		r.Headers = append(r.Headers, kafka.Header{Key: headerOriginal, Value: strconv.AppendInt(nil, int64(len(r.Value)), 10)})
	}
	r.Value = r.Value[:maxRejected]
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
	var whole batch
	for _, i := range rejected.Records {
		if topic, r := of.Record(i); topic == deadletter.Topic {
			whole.records.Append(topic, r)
		} else {
			b.reject(&whole, r, rejected.Err)
		}
	}
	var letters kafka.Batch
	for i := range whole.records.Len() {
		topic, r := whole.records.Record(i)
		if topic == deadletter.Topic {
			r = cut(r)
		}
		letters.Append(topic, r)
	}
	pause := &backoff.ExponentialBackOff{
		InitialInterval: redirectPauseMin, MaxInterval: redirectPauseMax,
		Multiplier: backoff.DefaultMultiplier, RandomizationFactor: backoff.DefaultRandomizationFactor,
	}
	for said := false; ; said = true {
		err := b.options.Producer.Produce(ctx, &letters)
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
	in.letter(r.Value, reasonRejected, cause.Error())
	var f telemetry.Frame
	if err := in.decoder.Decode(r.Value, &f); err == nil {
		in.declare(&f, reasonRejected)
	}
}
