//go:build hil

package hil_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"golang.org/x/sync/errgroup"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/disk"
	"github.com/telltale-iot/telltale/simulator/disk/writelog"
	"github.com/telltale-iot/telltale/simulator/lab"
)

// crashImages is how many states of the disk are looked at.
const crashImages = 300

// enoughReadings is how many readings of a sensor the run has.
const enoughReadings = 1200

// TestReplayedPowerCuts has QEMU log all writes of one run of the agent, and
// looks at what it would have found after a cut at hundreds of places.
func TestReplayedPowerCuts(t *testing.T) {
	t.Parallel()
	image := newImage(t)
	before, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	p, entries := record(t, image)
	flushes := 0
	for _, e := range entries {
		if e.Flush {
			flushes++
		}
	}
	committed, published, receipted := p.totals()
	t.Logf("%d entries with %d flushes; %d readings were committed, %d published, %d receipted", len(entries), flushes, committed, published, receipted)

	began := time.Now()
	broken, images := replay(t, before, entries, p)
	t.Logf("%d crash images in %.1fs", images, time.Since(began).Seconds())
	for i, b := range broken {
		if i == 20 {
			t.Fatalf("and %d more", len(broken)-i)
		}
		t.Error(b)
	}
	if committed < enoughReadings || receipted < enoughReadings/2 {
		t.Error("too little happened for a verdict")
	}
	if images < crashImages/2 {
		t.Errorf("want %d images at least", crashImages/2)
	}

	t.Run("a disk that does not flush is found out", func(t *testing.T) {
		lying := slices.Clone(entries)
		for i := range lying {
			lying[i].Flush = false
		}
		r := writelog.NewReplay(slices.Clone(before), lying)
		if err := r.Advance(len(lying)); err != nil {
			t.Fatal(err)
		}
		left, err := r.Crash(disk.LoseAll, nil)
		if err != nil {
			t.Fatal(err)
		}
		broken, err := look(left, filepath.Join(t.TempDir(), "image"), p, uint64(len(lying)))
		if err != nil {
			t.Fatal(err)
		}
		if len(broken) == 0 {
			t.Error("no promise is broken")
		}
	})
}

// record runs an agent on the image until it has committed enough, and receipts
// what it publishes, after a while. It returns its promises and the log.
func record(t *testing.T, image string) (*promises, []writelog.Entry) {
	logFile := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(logFile, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := newPromises(func() uint64 {
		f, err := os.Open(logFile)
		if err != nil {
			return 0
		}
		defer f.Close()
		superblock := make([]byte, disk.SectorSize)
		if _, err := io.ReadFull(f, superblock); err != nil {
			return 0 // nothing was flushed yet
		}
		n, err := writelog.Entries(superblock)
		if err != nil {
			return 0
		}
		return n
	})
	broker, err := lab.StartMQTT("127.0.0.1:0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { broker.Close() })
	w := &witness{promises: p, first: map[string]uint64{}}
	subscribe(t, broker.Addr(), telemetry.Frames, func(client paho.Client, m paho.Message) {
		p.publish(m.Payload())
		if now, _ := w.state(); now.readings[device] < enoughReadings/3 {
			return // the buffer fills
		}
		r := receiptOf(m.Payload())
		p.receipt(r, p.position())
		client.Publish(telemetry.Topic(device, telemetry.Receipts), 1, false, telemetry.AppendReceipt(nil, r))
	})

	g := boot(t, programs(t), "driver=blklogwrites,file.driver=raw,file.file.filename="+image+",log.driver=raw,log.file.filename="+logFile)
	ended := make(chan error, 1)
	go func() {
		ended <- g.runAgent(t.Context(), run{config: agentConfig(broker.Addr(), 10*time.Millisecond), witnessed: w})
	}()
	await.True(t, powerLimit, "enough is committed", func() bool {
		select {
		case err := <-ended:
			t.Fatal(err)
		default:
		}
		m, _ := w.state()
		return m.readings[device] > enoughReadings
	})
	if err := g.PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("the machine is off: %v", <-ended)
	data, err := os.ReadFile(logFile)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := writelog.Read(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return p, entries
}

// receiptOf returns the receipt of a message of frames.
func receiptOf(payload []byte) *telemetry.Receipt {
	var r telemetry.Receipt
	var decoder telemetry.Decoder
	_ = decoder.Each(payload, func(_ []byte, f *telemetry.Frame, err error) { // whoever published it has said what is wrong
		switch {
		case err != nil:
		case f.IsLoss():
			r.Add(f.ID, f.Epoch, f.Lost.Seqs)
		default:
			r.Add(f.ID, f.Epoch, telemetry.SeqRange{First: f.Seq, Last: f.Seq})
		}
	})
	return &r
}

// replay looks at what cuts leave right before flushes, when the most can be
// lost: in each case all that was not flushed, and some of it or parts of it.
func replay(t *testing.T, image []byte, entries []writelog.Entry, p *promises) (broken []string, images int) {
	t.Helper()
	var places []int
	for n, e := range entries {
		if e.Flush && n > 0 && !entries[n-1].Flush {
			places = append(places, n)
		}
	}
	places = append(places, len(entries))
	some := min(len(places), crashImages/2)
	for i := range some { // evenly
		places[i] = places[i*len(places)/some]
	}
	places = places[:some]
	type crash struct {
		at    int
		cut   disk.Cut
		image []byte
	}
	crashes := make(chan crash)
	group, ctx := errgroup.WithContext(t.Context())
	group.Go(func() error {
		defer close(crashes)
		r := writelog.NewReplay(slices.Clone(image), entries)
		for i, n := range places {
			if err := r.Advance(n); err != nil {
				return err
			}
			for _, cut := range []disk.Cut{disk.LoseAll, []disk.Cut{disk.LoseSome, disk.Tear}[i%2]} {
				left, err := r.Crash(cut, rand.New(rand.NewPCG(uint64(n), uint64(cut))))
				if err != nil {
					return err
				}
				images++
				select {
				case crashes <- crash{n, cut, left}:
				case <-ctx.Done():
					return nil
				}
			}
		}
		return nil
	})
	results := make(chan []string)
	dir := t.TempDir()
	for worker := range 2 {
		group.Go(func() error {
			file := filepath.Join(dir, fmt.Sprint("image", worker))
			for c := range crashes {
				found, err := look(c.image, file, p, uint64(c.at))
				if err != nil {
					found = []string{err.Error()}
				}
				for i := range found {
					found[i] = fmt.Sprintf("%v after %d entries: %s", c.cut, c.at, found[i])
				}
				results <- found
			}
			return nil
		})
	}
	go func() {
		defer close(results)
		if err := group.Wait(); err != nil {
			results <- []string{err.Error()}
		}
	}()
	for found := range results {
		broken = append(broken, found...)
	}
	return broken, images
}

// look holds one state of the disk against the promises.
func look(image []byte, file string, p *promises, at uint64) ([]string, error) {
	if err := os.WriteFile(file, image, 0o600); err != nil {
		return nil, err
	}
	left, err := readImage(file)
	if err != nil {
		return nil, err
	}
	return p.check(left, at), nil
}
