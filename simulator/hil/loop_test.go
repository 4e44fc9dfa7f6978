//go:build hil

package hil_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/capture"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/hil"
	"github.com/telltale-iot/telltale/simulator/hil/hiltest"
	"github.com/telltale-iot/telltale/simulator/i2csim"
	"github.com/telltale-iot/telltale/simulator/pipeline"
	"github.com/telltale-iot/telltale/simulator/pipeline/pipelinetest"
	"github.com/telltale-iot/telltale/simulator/verify"
)

const (
	program = "/telltale-agent"
	config  = "/etc/telltale/agent.yaml"
	data    = "/data"

	// early is by how much the clocks of host and guest may differ.
	early = 50 * time.Millisecond

	// loopLimit is for what takes seconds, on a busy host.
	loopLimit = 3 * time.Minute

	// pause is how long the database is left alone: looking at it takes the time of
	// the processor that the machine runs on.
	pause = 500 * time.Millisecond

	// recovery is how soon after an adapter is back a chip is read.
	recovery = 5 * time.Second

	// hangover is that after it hung: the kernel gives a last transfer 2 s, and
	// all chips wait for it.
	hangover = 10 * time.Second

	// busy is by how much later the last of the chips may be, as a busy host is slow
	// to emulate the processor that reads them all at once.
	busy = 10 * time.Second
)

// rig is a machine to be tested, and what may be expected of it.
type rig struct {
	machine  hil.Machine
	agent    string        // the release binary's architecture
	interval time.Duration // of the readings
	drift    time.Duration // of the guest's clock, beside what it should be
	board    bool          // an emulated Raspberry Pi, which has no disk and is slow
}

// TestLoop has the agent's release binary read emulated chips on a real kernel,
// through everything that can happen to them, and holds what the database has
// in the end against what the chips were told to measure.
func TestLoop(t *testing.T) {
	for _, r := range []rig{
		{machine: hil.ARM64, agent: "arm64", interval: 1500 * time.Millisecond},
		{machine: hil.ARMv7, agent: "armv7", interval: 2 * time.Second},
	} {
		t.Run(string(r.machine), func(t *testing.T) {
			l := newLoop(t, r)
			l.detect()
			l.check()
			l.progress("detect and check see the chips")
			agent := l.startAgent()
			l.clockIsSetLater()
			l.fault("a chip does not answer", "nack", only("bh1750"), i2csim.NACK, "nack")
			l.fault("the adapter fails", "io", only("bme280"), i2csim.IO, "io")
			l.fault("the adapter hangs", "timeout", only(""), i2csim.Timeout, "timeout", "io")
			l.unplug()
			l.stopAgent(agent)
			l.judge()
		})
	}
}

// TestBoards is less of that on emulated Raspberry Pis, of which one is ARMv6.
func TestBoards(t *testing.T) {
	for _, r := range []rig{
		{machine: hil.RaspberryPi3, agent: "arm64", interval: 3 * time.Second, drift: time.Second, board: true},
		{machine: hil.RaspberryPi0, agent: "armv6", interval: 3 * time.Second, drift: time.Minute, board: true},
	} {
		t.Run(string(r.machine), func(t *testing.T) {
			l := newLoop(t, r)
			agent := l.startAgent()
			l.clockIsSetLater()
			l.fault("a chip does not answer", "nack", only("bh1750"), i2csim.NACK, "nack")
			l.stopAgent(agent)
			l.judge()
		})
	}
}

// loop is a machine with an agent, and the pipeline behind it.
type loop struct {
	*testing.T
	rig
	ctx      context.Context
	vm       *hil.VM
	bus      *i2csim.Bus
	weather  map[string]*weather // by driver
	pipeline *pipeline.Pipeline
	episodes []episode
	began    time.Time
	log      capture.Output // of the agent
}

// progress says what was done, and how long after the machine's start.
func (l *loop) progress(format string, args ...any) {
	l.Helper()
	l.Logf("%5.1fs  %s", time.Since(l.began).Seconds(), fmt.Sprintf(format, args...))
}

// episode is a time in which readings of some chips may lack, with which
// reasons.
type episode struct {
	from, to time.Time
	hits     func(driver string) bool
	reasons  []string
}

func only(driver string) func(string) bool {
	return func(d string) bool { return driver == "" || d == driver }
}

func newLoop(t *testing.T, r rig) *loop {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	l := &loop{T: t, rig: r, ctx: ctx, began: time.Now(), weather: make(map[string]*weather), pipeline: pipelinetest.Start(t), bus: i2csim.NewBus(i2csim.BusOptions{})}
	for i, c := range chips() {
		w := &weather{phase: time.Duration(i) * 7 * time.Second}
		l.weather[c.driver] = w
		emulated, err := i2csim.NewChip(c.driver, i2csim.ChipOptions{Source: w, Seed: uint64(i) + 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.bus.Attach(c.address, emulated); err != nil {
			t.Fatal(err)
		}
	}
	o := hil.Options{Machine: r.machine, Bus: l.bus, Files: map[string]string{program: "../../bin/telltale-agent-linux-" + r.agent}}
	if !r.board {
		o.Disks = []string{"format=raw,file=" + hiltest.Ext4(t, 64<<20)}
	}
	l.vm = hiltest.Start(t, o)
	if !r.board {
		l.no(l.vm.Mount(ctx, "/dev/vda", data, "ext4", ""))
	}
	device, name, err := l.vm.Adapter(ctx)
	l.no(err)
	l.progress("the adapter is %s, %s", device, name)
	l.no(l.vm.WriteFile(ctx, config, []byte(l.config()), 0o644))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the agent said:\n%s", &l.log)
		}
	})
	return l
}

// no ends the test if there is an error.
func (l *loop) no(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// config is of a device with a sensor for each chip, since two chips of one may
// not supply the same measure.
func (l *loop) config() string {
	_, port, err := net.SplitHostPort(l.pipeline.MQTTAddr())
	l.no(err)
	var b strings.Builder
	fmt.Fprintf(&b, "device: hil\nmqtt: {url: \"tcp://%s:%s\"}\n", hil.HostAddr, port)
	fmt.Fprintf(&b, "buffer: {dir: %s/buffer, max_size: 32MiB, commit_interval: 200ms}\nuplink: {batch_age: 200ms}\nsensors:\n", data)
	for _, c := range chips() {
		fmt.Fprintf(&b, "  - {id: hil.%s, name: %[1]s, place_id: guest, interval: %s, chips: [{driver: %[1]s, bus: \"i2c-tiny-usb*\", address: %#[3]x, %[4]s}]}\n",
			c.driver, l.interval, c.address, c.setting)
	}
	return b.String()
}

// run runs the agent's program to its end.
func (l *loop) run(args ...string) (stdout, stderr string, exit hil.Exit) {
	l.Helper()
	var out, err capture.Output
	exit, failed := l.vm.Run(l.ctx, hil.Command{Args: append([]string{program}, args...), Stdout: &out, Stderr: &err})
	l.no(failed)
	return out.String(), err.String(), exit
}

func (l *loop) detect() {
	l.Helper()
	yaml, report, exit := l.run("detect", "--device", "hil")
	if exit.Code != 0 {
		l.Errorf("detect: exit code %d", exit.Code)
	}
	for _, c := range chips() {
		if want := fmt.Sprintf(`{driver: %s, bus: "0", address: %#x`, c.driver, c.address); !strings.Contains(yaml, want) {
			l.Errorf("detect writes\n%s\nwant %s in it; it says\n%s", yaml, want, report)
		}
	}
}

func (l *loop) check() {
	l.Helper()
	out, errs, exit := l.run("check", "--config", config)
	if exit.Code != 0 {
		l.Errorf("check: exit code %d\n%s%s", exit.Code, out, errs)
	}
	want := []string{"ok    bus i2c-tiny-usb*", "ok    disk", "on ext4", "warn  clock", "1970-01-01", "ok    broker"}
	for _, c := range chips() {
		want = append(want, fmt.Sprintf("ok    chip %s@i2c-tiny-usb*:%#x", c.driver, c.address))
	}
	for _, want := range want {
		if !strings.Contains(out, want) {
			l.Errorf("check says\n%s\nwant %q in it", out, want)
		}
	}
}

// startAgent starts what is tested.
func (l *loop) startAgent() *hil.Process {
	l.Helper()
	p, err := l.vm.Start(l.ctx, hil.Command{Args: []string{program, "run", "--config", config}, Stderr: &l.log})
	l.no(err)
	return p
}

func (l *loop) stopAgent(p *hil.Process) {
	l.Helper()
	l.no(p.Signal(l.ctx, syscall.SIGTERM))
	exit, err := p.Wait(l.ctx)
	l.no(err)
	if exit.Code != 0 {
		l.Errorf("the agent ended with %+v", exit)
	}
}

// clockIsSetLater lets the agent sample in 1970 and then tells the guest what
// time it is.
func (l *loop) clockIsSetLater() {
	l.Helper()
	var contents struct{ Readings, Waiting uint64 }
	await.True(l, loopLimit, "readings wait for the time", func() bool {
		out, errs, exit := l.run("buffer", "stat", "--dir", data+"/buffer", "--format", "json")
		if exit.Code == 2 {
			return false // there is none yet
		}
		if err := json.Unmarshal([]byte(out), &contents); err != nil {
			l.Fatalf("buffer stat: %v\n%s%s", err, out, errs)
		}
		return contents.Waiting >= uint64(4*len(chips()))
	})
	if contents.Readings != contents.Waiting {
		l.Errorf("%d readings, of which %d wait: want all to", contents.Readings, contents.Waiting)
	}
	if frames := l.frames(); len(frames) != 0 {
		l.Errorf("%d readings are stored before the time is known", len(frames))
	}
	l.no(l.vm.SetClock(l.ctx))
	l.no(l.vm.TrustClock(l.ctx))
	l.await("all that waited is stored", func(frames []telemetry.Frame) bool {
		return len(frames) > int(contents.Waiting)
	})
	l.progress("%d readings waited until the clock was set", contents.Waiting)
}

// frames returns the readings in the database.
func (l *loop) frames() []telemetry.Frame {
	l.Helper()
	stored, err := verify.Read(l.ctx, verify.Sources{
		Brokers: []string{l.pipeline.KafkaAddr()}, MongoURI: l.pipeline.MongoURI(), Database: pipeline.Database,
	})
	l.no(err)
	if len(stored.Losses) > 0 {
		l.Errorf("declared lost: %v", stored.Losses)
	}
	return stored.Frames
}

// await waits until the database has what condition wants.
func (l *loop) await(what string, condition func([]telemetry.Frame) bool) {
	l.Helper()
	var looked time.Time
	await.True(l, loopLimit, what, func() bool {
		if time.Since(looked) < pause {
			return false
		}
		found := condition(l.frames())
		looked = time.Now()
		return found
	})
}

// reads reports whether each chip has a reading with values from since on.
func reads(frames []telemetry.Frame, since time.Time) bool {
	for _, c := range chips() {
		if firstReading(frames, c, since).IsZero() {
			return false
		}
	}
	return true
}

// firstReading returns the time of a chip's first reading with all its values.
func firstReading(frames []telemetry.Frame, c chip, since time.Time) time.Time {
	var first time.Time
	for _, f := range frames {
		at := time.UnixMilli(f.Timestamp)
		if f.ID != "hil."+c.driver || f.Payload.Empty() || f.Faults != (telemetry.Faults{}) || at.Before(since) {
			continue
		}
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	return first
}

// failed reports whether a chip that hits lacks a reading for that reason.
func failed(frames []telemetry.Frame, hits func(string) bool, reason string, since time.Time) bool {
	for _, c := range chips() {
		if !hits(c.driver) {
			continue
		}
		if !slices.ContainsFunc(frames, func(f telemetry.Frame) bool {
			return f.ID == "hil."+c.driver && slices.Contains(f.Faults[:], reason) && !time.UnixMilli(f.Timestamp).Before(since)
		}) {
			return false
		}
	}
	return true
}

// fault lets transactions with the chips that it hits fail until the database
// says so, with a reason; others may be there besides.
func (l *loop) fault(what, reason string, hits func(string) bool, kind i2csim.Kind, reasons ...string) {
	l.Helper()
	addresses := make(map[uint16]bool)
	for _, c := range chips() {
		addresses[c.address] = hits(c.driver)
	}
	e := episode{from: time.Now(), hits: hits, reasons: reasons}
	l.bus.SetFaults(func(t i2csim.Transaction) i2csim.Fault {
		if addresses[t.Addr] {
			return i2csim.Fault{Kind: kind}
		}
		return i2csim.Fault{}
	})
	l.await(what+": "+reason, func(frames []telemetry.Frame) bool { return failed(frames, hits, reason, e.from) })
	l.bus.SetFaults(nil)
	e.to = time.Now()
	within := recovery
	if kind == i2csim.Timeout {
		within = hangover
	}
	l.recovers(e, what, within)
}

// recovers waits until each chip is read again, which ends an episode.
func (l *loop) recovers(e episode, what string, within time.Duration) {
	l.Helper()
	l.await(what+": readings again", func(frames []telemetry.Frame) bool { return reads(frames, e.to) })
	first, last := time.Duration(math.MaxInt64), time.Duration(0)
	frames := l.frames()
	for _, c := range chips() {
		if !e.hits(c.driver) {
			continue
		}
		took := firstReading(frames, c, e.to).Sub(e.to)
		first, last = min(first, took), max(last, took)
	}
	if first > within+l.drift || last > within+busy+l.drift {
		l.Errorf("%s: read again after %s to %s, want the first within %s and the last within %s", what, first, last, within, within+busy)
	}
	l.progress("%s: read again after %s to %s", what, first, last)
	e.to = e.to.Add(last)
	l.episodes = append(l.episodes, e)
}

// unplug pulls the adapter and plugs it in again.
func (l *loop) unplug() {
	l.Helper()
	e := episode{from: time.Now(), hits: only(""), reasons: []string{"bus", "io", "timeout"}}
	l.vm.Unplug()
	l.await("the adapter is pulled: bus", func(frames []telemetry.Frame) bool { return failed(frames, e.hits, "bus", e.from) })
	e.to = time.Now()
	l.vm.Plug()
	l.recovers(e, "the adapter is pulled", recovery)
}

// judge holds every reading against the truth.
func (l *loop) judge() {
	l.Helper()
	frames := l.frames()
	for _, c := range chips() {
		var seqs []uint64
		values, slow := 0, 0
		for _, f := range frames {
			if f.ID != "hil."+c.driver {
				continue
			}
			seqs = append(seqs, f.Seq)
			if f.Clock != telemetry.ClockSynced {
				l.Errorf("%s: clock %q, want synchronised", telemetry.FrameID(&f), f.Clock)
			}
			switch {
			case f.Payload.Empty() && !l.explained(c, f):
				if slow++; slices.ContainsFunc(f.Faults[:], func(reason string) bool { return reason != "" && reason != "timeout" }) {
					l.Errorf("%s of %s: %v, and nothing happened then", telemetry.FrameID(&f), time.UnixMilli(f.Timestamp), f.Faults)
				}
			case f.Payload.Empty():
			case !l.isTrue(c, f):
				l.Errorf("%s of %s: %s is nothing that the chip measured then; it measured %v", telemetry.FrameID(&f),
					time.UnixMilli(f.Timestamp), telemetry.AppendFrame(nil, &f), l.measured(c, f))
			default:
				values++
			}
		}
		slices.Sort(seqs)
		for i, seq := range seqs {
			if seq != uint64(i) {
				l.Errorf("%s: reading %d is missing", c.driver, i)
				break
			}
		}
		// An emulated processor on a busy host can be too slow for a chip.
		if values < 5 || slow > values/2 {
			l.Errorf("%s: %d readings with values and %d too slow, want more and fewer", c.driver, values, slow)
		}
		l.progress("%s: %d readings: %d true, %d faults of ours, %d too slow, none missing", c.driver, len(seqs), values, len(seqs)-values-slow, slow)
	}
}

// measured returns what a chip measured when a reading was taken.
func (l *loop) measured(c chip, f telemetry.Frame) []conversion {
	at := time.UnixMilli(f.Timestamp)
	return l.weather[c.driver].conversions(at.Add(-early-l.drift), at.Add(patience(l.interval)+l.drift))
}

// patience is how long the agent waits for a chip, whose conversion begins
// meanwhile.
func patience(interval time.Duration) time.Duration { return min(interval*3/4, 2*time.Second) }

// isTrue reports whether all values are those of one conversion.
func (l *loop) isTrue(c chip, f telemetry.Frame) bool {
	return slices.ContainsFunc(l.measured(c, f), func(truth conversion) bool {
		for m := range telemetry.Measure(telemetry.Measures) {
			got, there := f.Payload.Get(m)
			within, wanted := c.within[m]
			if there != wanted {
				return false
			}
			if difference := got - truth.values[m]; wanted && (difference > within || difference < -within) {
				return false
			}
		}
		return true
	})
}

// explained reports whether an episode has all of the reading's faults.
func (l *loop) explained(c chip, f telemetry.Frame) bool {
	at := time.UnixMilli(f.Timestamp)
	return slices.ContainsFunc(l.episodes, func(e episode) bool {
		for m := range c.within {
			if !slices.Contains(e.reasons, f.Faults[m]) {
				return false
			}
		}
		return e.hits(c.driver) && !at.Before(e.from.Add(-l.interval-l.drift)) && !at.After(e.to.Add(l.drift))
	})
}
