// The command inmemory does the work of telltale-ingest's role aggregate with a
// store that is a map, for `make bench-windows`: so much of the role's time is its
// own and Kafka's. It is no product, since nothing outlives it.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"
	"strings"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/telltale-iot/telltale/ingest/internal/aggregate"
	"github.com/telltale-iot/telltale/ingest/internal/config"
	"github.com/telltale-iot/telltale/ingest/internal/deadletter"
	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/ingest/internal/window"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "inmemory:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	defaults := config.Default()
	brokers := flag.String("brokers", defaults.Kafka.Brokers[0], "HOST:PORT of brokers, by commas")
	reorder := flag.Duration("reorder", defaults.Aggregate.Reorder, "as aggregate.reorder")
	profile := flag.String("cpuprofile", "", "file for a CPU profile of the whole run")
	flag.Parse()
	if *profile != "" {
		f, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}

	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	client, err := kafka.NewClient(kafka.Options{Brokers: strings.Split(*brokers, ","), ClientID: "inmemory"})
	if err != nil {
		return err
	}
	defer client.Close()
	producer, err := client.NewProducer(kafka.ProducerOptions{
		Topics: []string{aggregate.SensorsTopic, aggregate.PlacesTopic, aggregate.PartsTopic, deadletter.Topic}, Logger: log,
	})
	if err != nil {
		return err
	}
	c := defaults.Aggregate
	a, err := aggregate.New(aggregate.Options{
		Window:    window.Options{Size: c.Window, Reorder: *reorder, Idle: c.Idle, MaxOpen: c.MaxOpen},
		Retention: c.Retention, Store: newStore(), Producer: producer, Registry: prometheus.NewRegistry(), Logger: log,
	})
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, loop := range []struct {
		group, topic string
		handle       func(context.Context, aggregate.Source) error
	}{
		{aggregate.SensorsGroup, aggregate.FramesTopic, a.Sensors},
		{aggregate.PlacesGroup, aggregate.PartsTopic, a.Places},
	} {
		consumer, err := client.NewConsumer(kafka.ConsumerOptions{Group: loop.group, Topic: loop.topic, Logger: log})
		if err != nil {
			return err
		}
		group.Go(func() error {
			return consumer.Run(ctx, func(ctx context.Context, p *kafka.Assignment) error { return loop.handle(ctx, p) })
		})
	}
	return group.Wait()
}
