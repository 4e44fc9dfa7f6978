package bridge

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/telltale-iot/telltale/ingest/internal/deadletter"
	"github.com/telltale-iot/telltale/ingest/internal/kafka"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// Kafka takes neither some records nor, for a while, what stands for them.
func TestDeadLettersRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan error, 3)
		gate <- &kafka.RejectedError{Records: []int{0, 1, 3}, Err: errors.New("too large")}
		gate <- &kafka.RejectedError{Records: []int{0}, Err: errors.New("invalid")}
		gate <- nil
		out := &produced{gate: gate}
		b, registry := newBridge(t, Options{Producer: out})
		ctx, cancel := context.WithCancel(t.Context())
		acked := 0
		long := strings.Repeat("x", 3001)
		for _, m := range []Message{
			{Topic: deviceTopic, Payload: []byte(frame)},
			{Topic: deviceTopic, Payload: []byte(long)},
			{Topic: deviceTopic, Payload: []byte(frame)},
			{Topic: telemetry.SeedTopic, Payload: []byte(seedFrame)},
		} {
			m.Ack = func() { acked++ }
			b.Handle(ctx, m)
		}
		done := make(chan error, 1)
		go func() { done <- b.Run(ctx) }()
		<-time.After(time.Minute)
		synctest.Wait()
		letter := func(topic, device, reason, detail, value string) record {
			return record{deadletter.Topic, topic, value, map[string]string{"topic": topic, "device": device, "reason": reason, "detail": detail}, now}
		}
		cut := letter(deviceTopic, "greenhouse-7", "not_json", out.records[2].Headers["detail"], long[:1024])
		cut.Headers["original_length"] = "3001"
		want := []record{
			letter(deviceTopic, "greenhouse-7", "rejected_by_kafka", "too large", frame),
			{FramesTopic, "greenhouse-7", `{"id":"greenhouse-7","epoch":9,"lost":{"seq":[70,70],"reason":"refused_rejected_by_kafka"}}`, map[string]string{"device": "greenhouse-7"}, now},
			cut,
			letter(telemetry.SeedTopic, "", "rejected_by_kafka", "too large", seedFrame),
		}
		if diff := cmp.Diff(want, out.records); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}
		if acked != 4 {
			t.Errorf("%d messages are acknowledged, want 4", acked)
		}
		exposition := `
			# HELP telltale_bridge_produce_retries_total Requests to Kafka, or partitions of them, that failed and are tried again, by reason.
			# TYPE telltale_bridge_produce_retries_total counter
			telltale_bridge_produce_retries_total{reason="rejected_by_kafka"} 1
		`
		if err := testutil.GatherAndCompare(registry, strings.NewReader(exposition), "telltale_bridge_produce_retries_total"); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
