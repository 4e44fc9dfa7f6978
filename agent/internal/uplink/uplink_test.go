package uplink

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// receiptFor is the payload of a receipt for the sequence numbers.
func receiptFor(first, last uint64) []byte {
	var r telemetry.Receipt
	r.Add("d", epoch, telemetry.SeqRange{First: first, Last: last})
	return telemetry.AppendReceipt(nil, &r)
}

// wantState waits until all is quiet, then compares what was published so far
// and up to where the buffer is free.
func wantState(t *testing.T, b *broker, s *store, freed int, batches ...[]string) {
	t.Helper()
	<-time.After(time.Microsecond) // more than MaxDrainRate needs
	synctest.Wait()
	if diff := cmp.Diff(batches, b.batches()); diff != "" {
		t.Fatalf("published (-want +got):\n%s", diff)
	}
	if got, _ := s.state(); got != freed {
		t.Fatalf("freed %d, want %d", got, freed)
	}
}

// deaf makes a broker that acknowledges, and from which no receipts come but
// the test's own.
func deaf(b *broker) *broker {
	b.faults = faults{LoseMessage: 100}
	b.connect()
	return b
}

func TestBatchesByCountSizeAndAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.append(readings(0, 7)...)
		b := deaf(run(t, s, 1, nil))
		wantState(t, b, s, 0, []string{"0", "1", "2", "3", "4"}) // by count
		<-time.After(2 * time.Second)
		wantState(t, b, s, 0, []string{"0", "1", "2", "3", "4"}) // a probe, alone: no receipt has come yet
		b.uplink.Receive(receiptFor(0, 1))
		<-time.After(999 * time.Millisecond)
		wantState(t, b, s, 2, []string{"0", "1", "2", "3", "4"})
		<-time.After(time.Millisecond)
		wantState(t, b, s, 2, []string{"0", "1", "2", "3", "4"}, []string{"5", "6"}) // by age

		if want, got := string(telemetry.AppendBatch(nil, readings(0, 5))), string(b.published()[0].payload); got != want {
			t.Errorf("message %s\nwant    %s", got, want)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		frames := readings(0, 3)
		frames[1].Name = strings.Repeat("x", 200)
		s.append(frames...)
		b := run(t, s, 1, func(o *Options[int]) { o.BatchSize = 250 })
		b.connect()
		<-time.After(5 * time.Second)
		wantState(t, b, s, 3, []string{"0"}, []string{"1"}, []string{"2"}) // the second is too long for company
		if want, got := string(telemetry.AppendFrame(nil, &frames[1])), string(b.published()[1].payload); got != want {
			t.Errorf("message %s\nwant    %s", got, want)
		}
	})
}

// A connection that breaks more often than BatchAge does not keep a batch from
// its age, and what was sent before does not wait again.
func TestAgeSurvivesReconnects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		b := deaf(run(t, s, 1, func(o *Options[int]) { o.BatchAge, o.ReceiptTimeout = 15*time.Minute, time.Minute }))
		began := time.Now()
		s.append(readings(0, 2)...)
		for range 3 {
			<-time.After(4 * time.Minute)
			b.disconnect()
			b.connect()
		}
		wantState(t, b, s, 0)
		s.append(readings(2, 1)...)
		<-time.After(3*time.Minute + 30*time.Second)
		batch := []string{"0", "1", "2"}
		wantState(t, b, s, 0, batch)
		if got := b.published()[0].at.Sub(began); got < 15*time.Minute || got > 15*time.Minute+time.Second {
			t.Errorf("sent after %v, want after 15m", got)
		}
		<-time.After(time.Minute) // the receipt has been overdue for half of it
		wantState(t, b, s, 0, batch, batch)
		b.disconnect()
		b.connect()
		wantState(t, b, s, 0, batch, batch, batch)
	})
}

func TestReceiptsFreeThePrefixOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.append(readings(0, 10)...)
		b := deaf(run(t, s, 1, nil))
		first, second := []string{"0", "1", "2", "3", "4"}, []string{"5", "6", "7", "8", "9"}
		wantState(t, b, s, 0, first)
		b.uplink.Receive(receiptFor(3, 4))
		wantState(t, b, s, 0, first, second) // a hole: nothing freed, but the way is open
		b.uplink.Receive(receiptFor(6, 9))
		wantState(t, b, s, 0, first, second)
		b.uplink.Receive(receiptFor(0, 1))
		wantState(t, b, s, 2, first, second)
		b.uplink.Receive(receiptFor(2, 2))
		wantState(t, b, s, 5, first, second)
		b.uplink.Receive(receiptFor(5, 5))
		wantState(t, b, s, 10, first, second)
		b.uplink.Receive(receiptFor(0, 9)) // again, and late: nothing more happens
		wantState(t, b, s, 10, first, second)
		<-time.After(time.Hour)
		wantState(t, b, s, 10, first, second)
		if diff := cmp.Diff([]int{2, 5, 10}, s.frees); diff != "" {
			t.Errorf("Free (-want +got):\n%s", diff)
		}
	})
}

func TestTimeoutSendsAgainFromTheFirstUnreceipted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.append(readings(0, 15)...)
		var log bytes.Buffer
		set := metrics.NewSet()
		b := run(t, s, 1, func(o *Options[int]) {
			o.Logger = slog.New(slog.NewTextHandler(&log, nil))
			o.Metrics = set
		})
		deaf(b)
		synctest.Wait()
		b.uplink.Receive(receiptFor(0, 2))
		sent := [][]string{{"0", "1", "2", "3", "4"}, {"5", "6", "7", "8", "9"}, {"10", "11", "12", "13", "14"}}
		wantState(t, b, s, 3, sent...)
		b.uplink.Receive(receiptFor(6, 8))
		<-time.After(10*time.Second - time.Millisecond)
		wantState(t, b, s, 3, sent...)
		<-time.After(time.Second) // at most 500 ms of the first backoff
		sent = append(sent, []string{"3", "4", "5", "9", "10"})
		wantState(t, b, s, 3, sent...) // without what has its receipt, and as a probe, alone
		b.uplink.Receive(receiptFor(3, 14))
		wantState(t, b, s, 15, sent...) // the late receipt spares sending 11 to 14 again
		<-time.After(time.Hour)
		wantState(t, b, s, 15, sent...)

		if n := strings.Count(log.String(), "receipts overdue"); n != 1 {
			t.Errorf("said %d times that receipts are overdue, want once:\n%s", n, &log)
		}
		var exposition bytes.Buffer
		set.WritePrometheus(&exposition)
		want := `telltale_agent_uplink_free_errors_total 0
telltale_agent_uplink_published_batches_total 4
telltale_agent_uplink_published_bytes_total 1821
telltale_agent_uplink_published_frames_total 20
telltale_agent_uplink_read_errors_total 0
telltale_agent_uplink_receipted_frames_total 15
telltale_agent_uplink_receipted_late_frames_total 4
telltale_agent_uplink_receipts_discarded_total{reason="invalid"} 0
telltale_agent_uplink_receipts_discarded_total{reason="queue_full"} 0
telltale_agent_uplink_receipts_total 3
telltale_agent_uplink_receipts_unmatched_total 0
telltale_agent_uplink_retransmitted_frames_total 5
telltale_agent_uplink_rewinds_total{reason="connect"} 1
telltale_agent_uplink_rewinds_total{reason="receipt_timeout"} 1
telltale_agent_uplink_throttled_batches_total 2
telltale_agent_uplink_unreceipted_frames 0
`
		if diff := cmp.Diff(want, exposition.String()); diff != "" {
			t.Errorf("metrics (-want +got):\n%s", diff)
		}
	})
}

func TestBackoffGrowsWhileNoReceiptComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.append(readings(0, 50)...)
		b := deaf(run(t, s, 1, nil))
		<-time.After(time.Hour)
		synctest.Wait()
		// 10 s of timeout and at most 60 s of backoff a round: at least 51; with 30 s
		// of backoff on average but in the first rounds about 94, give or take 4.
		if n := len(b.published()); n < 51 || n > 120 {
			t.Errorf("published %d times in an hour without receipts, want 51 to 120", n)
		}
		for _, batch := range b.batches() {
			if diff := cmp.Diff([]string{"0", "1", "2", "3", "4"}, batch); diff != "" {
				t.Fatalf("published (-want +got):\n%s", diff)
			}
		}
	})
}

func TestReconnectSendsAgainAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.append(readings(0, 5)...)
		b := deaf(run(t, s, 1, nil))
		batch := []string{"0", "1", "2", "3", "4"}
		wantState(t, b, s, 0, batch)
		b.disconnect()
		<-time.After(time.Hour)
		wantState(t, b, s, 0, batch)
		b.connect()
		wantState(t, b, s, 0, batch, batch)
		b.disconnect() // both before Run has looked
		b.connect()
		wantState(t, b, s, 0, batch, batch, batch)
	})
}

func TestWithoutReceiptsPubackFrees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.append(readings(0, 10)...)
		b := run(t, s, 1, func(o *Options[int]) { o.Receipts = false })
		b.faults = faults{LoseMessage: 100}
		b.connect()
		<-time.After(time.Second)
		wantState(t, b, s, 10, []string{"0", "1", "2", "3", "4"}, []string{"5", "6", "7", "8", "9"})

		b.mu.Lock()
		b.faults.LoseAck = 100
		b.mu.Unlock()
		s.append(readings(10, 5)...)
		batch := []string{"10", "11", "12", "13", "14"}
		<-time.After(10*time.Second + 750*time.Millisecond)
		synctest.Wait()
		if n := len(b.published()); n != 4 {
			t.Errorf("%d messages, want the third sent twice: %v", n, b.batches())
		}
		b.mu.Lock()
		b.faults.LoseAck = 0
		var late *publish
		for late = range b.open {
			break
		}
		b.mu.Unlock()
		b.finish(late, nil) // the PUBACK of either frees
		wantState(t, b, s, 15, []string{"0", "1", "2", "3", "4"}, []string{"5", "6", "7", "8", "9"}, batch, batch)
	})
}

func TestUnreadableBufferIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.faults = 5
		s.append(readings(0, 5)...)
		var log bytes.Buffer
		b := run(t, s, 1, func(o *Options[int]) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		b.connect()
		<-time.After(time.Minute)
		wantState(t, b, s, 5, []string{"0", "1", "2", "3", "4"})
		if n := strings.Count(log.String(), "buffer unreadable"); n != 1 {
			t.Errorf("said %d times that the buffer is unreadable, want once:\n%s", n, &log)
		}
	})
}

func TestDroppedFramesAreSentAsLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.append(readings(0, 10)...)
		b := deaf(run(t, s, 1, nil))
		wantState(t, b, s, 0, []string{"0", "1", "2", "3", "4"})
		s.drop(7)
		<-time.After(12 * time.Second)
		wantState(t, b, s, 6, []string{"0", "1", "2", "3", "4"}, []string{"lost 0-6", "7", "8", "9"})
		b.uplink.Receive(receiptFor(0, 9))
		wantState(t, b, s, 10, []string{"0", "1", "2", "3", "4"}, []string{"lost 0-6", "7", "8", "9"})
	})
}

func TestReceiptsThatMeanNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.append(readings(0, 5)...)
		set := metrics.NewSet()
		b := deaf(run(t, s, 1, func(o *Options[int]) { o.Metrics = set }))
		synctest.Wait()
		b.uplink.Receive([]byte("{"))
		var other telemetry.Receipt
		other.Add("d", epoch+1, telemetry.SeqRange{First: 0, Last: 4})
		other.Add("e", epoch, telemetry.SeqRange{First: 0, Last: 4})
		other.Add("d", epoch, telemetry.SeqRange{First: 5, Last: 9})
		b.uplink.Receive(telemetry.AppendReceipt(nil, &other))
		wantState(t, b, s, 0, []string{"0", "1", "2", "3", "4"})
		for range 100 * maxReceipts { // in one go: most find no room
			b.uplink.Receive(receiptFor(0, 0))
		}
		wantState(t, b, s, 1, []string{"0", "1", "2", "3", "4"})
		if got := b.uplink.count.receiptsInvalid.Get(); got != 1 {
			t.Errorf("%d invalid receipts, want 1", got)
		}
		if got := b.uplink.count.unmatched.Get(); got < 1 {
			t.Errorf("%d unmatched receipts, want at least 1", got)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Options[int]){
		"no Read":          func(o *Options[int]) { o.Read = nil },
		"no End":           func(o *Options[int]) { o.End = nil },
		"no Publisher":     func(o *Options[int]) { o.Publisher = nil },
		"no Metrics":       func(o *Options[int]) { o.Metrics = nil },
		"empty batches":    func(o *Options[int]) { o.BatchFrames = 0 },
		"nothing on way":   func(o *Options[int]) { o.InFlight = 0 },
		"no rate":          func(o *Options[int]) { o.MaxDrainRate = 0 },
		"no timeout":       func(o *Options[int]) { o.ReceiptTimeout = 0 },
		"negative age":     func(o *Options[int]) { o.BatchAge = -1 },
		"inverted backoff": func(o *Options[int]) { o.BackoffMax = o.BackoffMin - 1 },
	} {
		t.Run(name, func(t *testing.T) {
			o := options(newStore(), newBroker(t.Context(), 1))
			if _, err := New(o); err != nil {
				t.Fatalf("good options: %v", err)
			}
			spoil(&o)
			if _, err := New(o); err == nil {
				t.Error("want an error")
			}
		})
	}
}
