package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	kafkago "github.com/segmentio/kafka-go"
)

// Topic is a topic that must be there.
type Topic struct {
	Name        string
	Partitions  int // 1 or more
	Replication int // brokers that hold each partition, 1 or more; see minInSync

	// Retention is how long records are kept after their receipt; 0 leaves it
	// to the broker's default, and a negative one keeps them for ever.
	Retention time.Duration

	// Cleanup is the topic's cleanup.policy: "delete", "compact" or
	// "compact,delete"; "" leaves it to the broker's default.
	Cleanup string

	// MaxRecord is the topic's max.message.bytes; 0 leaves it to the broker's
	// default, which is a little over 1 MiB.
	MaxRecord int
}

func (t Topic) validate() error {
	switch {
	case t.Name == "":
		return errors.New("kafka: a topic without a name")
	case t.Partitions < 1:
		return fmt.Errorf("kafka: topic %q: %d partitions: want 1 or more", t.Name, t.Partitions)
	case t.Replication < 1:
		return fmt.Errorf("kafka: topic %q: replication %d: want 1 or more", t.Name, t.Replication)
	}
	if t.MaxRecord < 0 {
		return fmt.Errorf("kafka: topic %q: records of at most %d bytes: want 0 or more", t.Name, t.MaxRecord)
	}
	switch t.Cleanup {
	case "", "delete", "compact", "compact,delete":
		return nil
	}
	return fmt.Errorf("kafka: topic %q: cleanup policy %q: want delete, compact or compact,delete", t.Name, t.Cleanup)
}

// minInSync returns how many replicas must have a record before it is
// acknowledged (min.insync.replicas), or 0 to leave that to the broker. Of three
// and more replicas one may be away; what is acknowledged is then on all others.
// With the broker's default of 1 it may be on one, and be lost with it.
func (t Topic) minInSync() int {
	if t.Replication < 3 {
		return 0
	}
	return t.Replication - 1
}

func (t Topic) config() kafkago.TopicConfig {
	c := kafkago.TopicConfig{Topic: t.Name, NumPartitions: t.Partitions, ReplicationFactor: t.Replication}
	if n := t.minInSync(); n > 0 {
		c.ConfigEntries = append(c.ConfigEntries, kafkago.ConfigEntry{ConfigName: "min.insync.replicas", ConfigValue: strconv.Itoa(n)})
	}
	if t.Cleanup != "" {
		c.ConfigEntries = append(c.ConfigEntries, kafkago.ConfigEntry{ConfigName: "cleanup.policy", ConfigValue: t.Cleanup})
	}
	if t.MaxRecord != 0 {
		c.ConfigEntries = append(c.ConfigEntries, kafkago.ConfigEntry{ConfigName: "max.message.bytes", ConfigValue: strconv.Itoa(t.MaxRecord)})
	}
	if t.Retention != 0 {
		ms := t.Retention.Milliseconds()
		if t.Retention < 0 {
			ms = -1
		}
		c.ConfigEntries = append(c.ConfigEntries, kafkago.ConfigEntry{ConfigName: "retention.ms", ConfigValue: strconv.FormatInt(ms, 10)})
	}
	return c
}

// EnsureTopics creates those of topics that are absent, and leaves the others
// as they are. It tries without end, with backoff and jitter, and returns nil
// when all are there, an error for a topic that is not valid, or the context's
// error. failed, if not nil, is called after each attempt that failed. A nil
// logger discards.
func (c *Client) EnsureTopics(ctx context.Context, topics []Topic, failed func(error), logger *slog.Logger) error {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if failed == nil {
		failed = func(error) {}
	}
	for _, t := range topics {
		if err := t.validate(); err != nil {
			return err
		}
	}
	pause := &backoff.ExponentialBackOff{
		InitialInterval: DefaultBackoffMin, MaxInterval: DefaultBackoffMax,
		Multiplier: backoff.DefaultMultiplier, RandomizationFactor: backoff.DefaultRandomizationFactor,
	}
	failures := c.newFailures(logger)
	for {
		err := c.createAbsent(ctx, topics, logger)
		if err == nil {
			if failures.over("topics") {
				logger.Info("kafka has the topics")
			}
			return nil
		}
		if ctx.Err() == nil {
			err = c.explain(err, "", "")
			failed(err)
			failures.failed("topics", err, "cannot make sure of kafka's topics; retrying")
		}
		if err := sleep(ctx, pause.NextBackOff()); err != nil {
			return fmt.Errorf("kafka: topics: %w", err)
		}
	}
}

// createAbsent tries once. It uses connections of its own, whose metadata
// cannot be stale.
func (c *Client) createAbsent(ctx context.Context, topics []Topic, logger *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, DefaultRequestTimeout)
	defer cancel()
	names := make([]string, len(topics))
	for i, t := range topics {
		names[i] = t.Name
	}
	transport := c.newTransport(names...)
	defer transport.CloseIdleConnections()
	api := &kafkago.Client{Addr: c.addr, Transport: transport}

	found, err := api.Metadata(ctx, &kafkago.MetadataRequest{Topics: names})
	if err != nil {
		return err
	}
	there := map[string]bool{}
	var refused []string
	for _, t := range found.Topics {
		there[t.Name] = t.Error == nil
		if errors.Is(t.Error, kafkago.TopicAuthorizationFailed) {
			refused = append(refused, t.Name)
		}
	}
	if len(refused) > 0 {
		// Without the right to describe a topic nobody learns whether it exists.
		return &topicError{strings.Join(refused, ", "), -1, kafkago.TopicAuthorizationFailed}
	}
	var absent []kafkago.TopicConfig
	for _, t := range topics {
		if !there[t.Name] {
			absent = append(absent, t.config())
		}
	}
	if len(absent) == 0 {
		return nil
	}
	created, err := api.CreateTopics(ctx, &kafkago.CreateTopicsRequest{Topics: absent})
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range absent {
		switch err := created.Errors[t.Topic]; {
		case err == nil:
			logger.Info("created a kafka topic", "topic", t.Topic, "partitions", t.NumPartitions, "replication", t.ReplicationFactor)
		case errors.Is(err, kafkago.TopicAuthorizationFailed):
			refused = append(refused, t.Topic)
		case !errors.Is(err, kafkago.TopicAlreadyExists):
			errs = append(errs, &topicError{t.Topic, -1, fmt.Errorf("create: %w", err)})
		}
	}
	if len(refused) > 0 {
		errs = append(errs, &topicError{strings.Join(refused, ", "), -1, fmt.Errorf("create: %w", kafkago.TopicAuthorizationFailed)})
	}
	return errors.Join(errs...)
}
