package prom

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Group is the consumer group, and FramesTopic what it reads.
const (
	Group       = "telltale-metrics"
	FramesTopic = "iot-frames"
)

// CommitEvery bounds how often a partition's offset is committed: a restart
// that reads a few seconds again shows nothing else.
const CommitEvery = 5 * time.Second

// Source is one assigned partition of iot-frames.
type Source interface {
	ID() int
	Next() int64
	Lag() int64 // negative before anything is known
	// Fetch returns the next records, none after a while without any. They
	// are good until the next Fetch. Its error ends the work.
	Fetch(ctx context.Context) ([]kafka.Message, error)
	Commit(ctx context.Context, offset int64) error
}

// Follow observes the frames of one partition until ctx ends or the source
// fails. It returns nil when ctx has ended. It may be called for several
// partitions at once. A record that is no frame is counted and passed over: the
// bridge writes none, and the sink accounts for those of others.
func (l *Latest) Follow(ctx context.Context, source Source) error {
	partition := strconv.Itoa(source.ID())
	defer l.lag.DeleteLabelValues(partition)
	if err := kafka.Work(ctx, func(ctx context.Context) error { return l.follow(ctx, source, partition) }); err != nil {
		return fmt.Errorf("prom: %w", err)
	}
	return nil
}

func (l *Latest) follow(ctx context.Context, source Source, partition string) error {
	var decoder telemetry.Decoder
	committed, committedAt := source.Next(), l.options.Now()
	for {
		messages, err := source.Fetch(ctx)
		if err != nil {
			return err
		}
		for i := range messages {
			var f telemetry.Frame
			if decoder.Decode(messages[i].Value, &f) == nil {
				l.Observe(&f)
			} else {
				l.passOver()
			}
		}
		if lag := source.Lag(); lag >= 0 {
			l.lag.WithLabelValues(partition).Set(float64(lag))
		}
		if now := l.options.Now(); source.Next() != committed && now.Sub(committedAt) >= CommitEvery {
			if err := source.Commit(ctx, source.Next()); err != nil {
				return err
			}
			committed, committedAt = source.Next(), now
		}
	}
}

func (l *Latest) passOver() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.undecodable++
}
