//go:build hil

package hil_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/internal/capture"
	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/disk"
	"github.com/telltale-iot/telltale/simulator/hil"
	"github.com/telltale-iot/telltale/simulator/hil/hiltest"
	"github.com/telltale-iot/telltale/simulator/pipeline"
	"github.com/telltale-iot/telltale/simulator/pipeline/pipelinetest"
	"github.com/telltale-iot/telltale/simulator/verify"
)

// root is the repository's folder.
const root = "../.."

// device is the guest's agent. It has four sensors of chips on a bus that is not
// there: readings that consist of faults are readings, and must survive like
// others.
const device = "pi-1"

// powerLimit is for a step on a machine that has other things to do.
const powerLimit = 3 * time.Minute

// agentConfig returns the agent's configuration.
func agentConfig(broker string, interval time.Duration) []byte {
	_, port, _ := net.SplitHostPort(broker)
	config := fmt.Sprintf(`device: %s
mqtt: {url: "tcp://%s:%s"}
buffer: {dir: /data/buffer, max_size: 4MiB, segment_size: 64KiB, commit_interval: 50ms}
uplink: {batch_age: 200ms, receipt_timeout: 2s, backoff_min: 100ms, backoff_max: 1s}
metrics: {listen: "127.0.0.1:9464"}
sensors:
`, device, hil.HostAddr, port)
	for i, suffix := range []string{"", ".2", ".3", ".4"} {
		config += fmt.Sprintf("  - {id: %s%s, name: Guest, place_id: lab, interval: %s, chips: [{driver: bh1750, bus: \"%d\", address: 0x23}]}\n", device, suffix, interval, 10+i)
	}
	return []byte(config)
}

// programs builds the guest's programs and returns them by their names in it.
func programs(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	files := map[string]string{"/bin/agent": filepath.Join(root, "bin/telltale-agent-linux-arm64")}
	for _, name := range []string{"poll", "writer"} {
		files["/bin/"+name] = filepath.Join(dir, name)
		build := exec.Command("go", "build", "-o", files["/bin/"+name], "./cmd/"+name)
		build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	return files
}

// guest is a machine with the disk mounted.
type guest struct {
	*hil.VM
	stderr *capture.Output
}

func boot(t *testing.T, files map[string]string, drive string) *guest {
	t.Helper()
	log := &capture.Output{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the programs in the guest said:\n%s", log)
		}
	})
	return &guest{hiltest.Start(t, hil.Options{Machine: hil.ARM64, Files: files, Disks: []string{drive}}), log}
}

// run is how an agent runs in a guest.
type run struct {
	config    []byte
	options   string // of the mount of its disk
	timeless  bool   // the clock is not believed, so its readings wait in the buffer
	witnessed *witness
}

// runAgent mounts the disk and starts the agent. It returns when something fails,
// the agent ends, or the machine.
func (g *guest) runAgent(ctx context.Context, r run) error {
	// A machine in 1970 would confuse e2fsck, for which a file that was deleted then
	// is in a list of orphans. A Raspberry Pi begins with the time at its last end.
	if err := g.SetClock(ctx); err != nil {
		return err
	}
	if !r.timeless {
		if err := g.TrustClock(ctx); err != nil {
			return err
		}
	}
	if err := g.Mount(ctx, "/dev/vda", "/data", "ext4", r.options); err != nil {
		return err
	}
	if err := g.WriteFile(ctx, "/etc/agent.yaml", r.config, 0o600); err != nil {
		return err
	}
	agent, err := g.Start(ctx, hil.Command{Args: []string{"/bin/agent", "run", "--config", "/etc/agent.yaml"}, Stderr: g.stderr})
	if err != nil {
		return err
	}
	if _, err := g.Start(ctx, hil.Command{Args: []string{"/bin/poll", "http://127.0.0.1:9464/metrics", "25ms"}, Stdout: r.witnessed, Stderr: g.stderr}); err != nil {
		return err
	}
	exit, err := agent.Wait(ctx)
	if err != nil {
		return err
	}
	return fmt.Errorf("the agent ended: %+v", exit)
}

// untilOff has a machine do something until the power of its disk
// goes, and then kills it. The disk does not answer any more, so the machine
// cannot have done anything in between that a real one would not have.
func untilOff(t *testing.T, d *disk.Disk, g *guest, do func(context.Context) error) disk.Loss {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), powerLimit)
	defer cancel()
	failed := make(chan error, 1)
	go func() { failed <- do(ctx) }()
	var runErr error
	select {
	case <-d.Off():
	case runErr = <-failed:
	case <-ctx.Done():
		runErr = ctx.Err()
	}
	writes := d.Writes()
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	if runErr != nil {
		t.Fatalf("after %d writes: %v", writes, runErr)
	}
	loss, err := d.Loss()
	if err != nil {
		t.Fatal(err)
	}
	return loss
}

// cloud is all of the system but agents, and a witness of what they publish.
type cloud struct {
	*pipeline.Pipeline
	clients []paho.Client
}

func startCloud(t *testing.T, p *promises) *cloud {
	t.Helper()
	c := &cloud{Pipeline: pipelinetest.Start(t)}
	frames := func(_ paho.Client, m paho.Message) { p.publish(m.Payload()) }
	receipts := func(_ paho.Client, m paho.Message) {
		var r telemetry.Receipt
		if err := telemetry.DecodeReceipt(m.Payload(), &r); err != nil {
			t.Error(err)
		}
		p.receipt(&r, 0)
	}
	c.clients = append(c.clients,
		subscribe(t, c.MQTTAddr(), telemetry.Frames, frames), subscribe(t, c.MQTTAddr(), telemetry.Receipts, receipts))
	await.True(t, powerLimit, "ingest is ready", func() bool {
		response, err := http.Get("http://" + c.MetricsAddr() + "/readyz")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return c
}

// subscribe has a client of its own take each of the device's messages of a kind.
func subscribe(t *testing.T, broker string, kind telemetry.Kind, take paho.MessageHandler) paho.Client {
	t.Helper()
	client := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + broker).SetClientID("witness of " + string(kind)))
	if token := client.Connect(); !token.WaitTimeout(time.Minute) || token.Error() != nil {
		t.Fatalf("connect: %v", token.Error())
	}
	t.Cleanup(func() { client.Disconnect(0) })
	token := client.Subscribe(telemetry.Topic(device, kind), 1, take)
	if !token.WaitTimeout(time.Minute) || token.Error() != nil {
		t.Fatalf("subscribe: %v", token.Error())
	}
	return client
}

// settle waits until the witnesses have seen all that the broker had when it was
// called: a message goes round behind it.
func (c *cloud) settle(t *testing.T) {
	t.Helper()
	for _, client := range c.clients {
		options := client.OptionsReader()
		topic := options.ClientID()
		back := make(chan struct{}, 1)
		if token := client.Subscribe(topic, 1, func(paho.Client, paho.Message) { back <- struct{}{} }); !token.WaitTimeout(time.Minute) || token.Error() != nil {
			t.Fatalf("subscribe: %v", token.Error())
		}
		client.Publish(topic, 1, false, "")
		select {
		case <-back:
		case <-time.After(time.Minute):
			t.Fatal("the broker does not answer")
		}
	}
}

// copyOf returns a copy of an image, which may be repaired.
func copyOf(t *testing.T, image string) string {
	t.Helper()
	data, err := os.ReadFile(image)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "copy")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestPowerCuts cuts the power of an agent again and again, each time after
// another write command of its disk, and boots it from what is left. In some boots
// it does not know the time. In the end the database must account for every
// reading.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	p := newPromises(func() uint64 { return 0 })
	c := startCloud(t, p)
	files, image := programs(t), newImage(t)
	next := make(map[string]uint64)
	lossy := 0
	began := time.Now()
	for i, write := range []int{60, 3, 80, 8, 12, 50, 1, 70, 20, 30, 5, 90, 40, 100, 9, 55, 2, 65, 16, 120} {
		cut := disk.Cuts()[i%len(disk.Cuts())]
		t.Run(fmt.Sprintf("%d after write %d, %v", i+1, write, cut), func(t *testing.T) {
			d, drive := powerOn(t, image, rand.New(rand.NewPCG(uint64(i), 0)))
			d.CutAfter(write, cut)
			g := boot(t, files, drive)
			w := &witness{promises: p, first: next}
			loss := untilOff(t, d, g, func(ctx context.Context) error {
				return g.runAgent(ctx, run{config: agentConfig(c.MQTTAddr(), 20*time.Millisecond), timeless: i%5 == 2, witnessed: w})
			})
			c.settle(t)
			left, err := readImage(copyOf(t, image))
			if err != nil {
				t.Fatal(err)
			}
			for _, breach := range p.check(left, 0) {
				t.Error(breach)
			}
			next = left.next
			if loss.Bytes > 0 {
				lossy++
			}
			t.Logf("%.0fs: %d writes were in the cache, %d bytes lost; %d readings in the buffer", time.Since(began).Seconds(), loss.Cached, loss.Bytes, len(left.readings))
		})
		if t.Failed() {
			return
		}
	}
	committed, published, _ := p.totals()
	t.Logf("%d readings were committed, %d published; %d cuts lost something", committed, published, lossy)
	if committed < 500 || lossy < 5 {
		t.Error("too little happened for a verdict")
	}

	d, drive := powerOn(t, image, rand.New(rand.NewPCG(0, 0)))
	g := boot(t, files, drive)
	w := &witness{promises: p, first: next}
	ended := make(chan error, 1)
	go func() {
		ended <- g.runAgent(t.Context(), run{config: agentConfig(c.MQTTAddr(), time.Hour), witnessed: w})
	}()
	await.True(t, powerLimit, "all is receipted", func() bool {
		m, answers := w.state()
		select {
		case err := <-ended:
			t.Fatal(err)
		default:
		}
		return answers > 0 && m.readings[device] > 0 && m.frames == 0
	})
	if err := g.PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("the machine is off: %v", <-ended)
	d.Cut(disk.LoseAll)
	c.settle(t)
	account(t, c, p)
}

// account holds the database against what was published and committed.
func account(t *testing.T, c *cloud, p *promises) {
	t.Helper()
	sources := verify.Sources{Brokers: []string{c.KafkaAddr()}, MongoURI: c.MongoURI(), Database: pipeline.Database}
	report, err := verify.Await(t.Context(), p.journal(), sources, verify.Rules{Window: time.Second}, powerLimit)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(report)
	for i, finding := range report.Findings {
		if i == 20 {
			t.Errorf("and %d more", len(report.Findings)-i)
			break
		}
		t.Error(finding)
	}
	stored, err := verify.Read(t.Context(), sources)
	if err != nil {
		t.Fatal(err)
	}
	at := make(map[number]bool)
	last := make(map[string]uint64)
	for _, f := range stored.Frames {
		n := number{f.ID, f.Seq}
		if f.Epoch != p.epoch {
			t.Errorf("%s is not of epoch %d", telemetry.FrameID(&f), p.epoch)
		}
		at[n] = true
		last[f.ID] = max(last[f.ID], f.Seq)
	}
	for _, of := range p.latest(0) {
		for seq := of.first; seq < of.first+of.count; seq++ {
			if !at[number{of.sensor, seq}] {
				t.Errorf("reading %d of %s was committed, and is not in the database", seq, of.sensor)
			}
		}
	}
	readings := len(at)
	for _, l := range stored.Losses {
		if l.Reason != "power_cut" {
			t.Errorf("%v: a power cut is no reason for that", l)
		}
		for seq := l.First; seq <= l.Last; seq++ {
			at[number{l.ID, seq}] = true
		}
		last[l.ID] = max(last[l.ID], l.Last)
	}
	for id, end := range last {
		for seq := range end {
			if !at[number{id, seq}] {
				t.Errorf("number %d of %s is neither stored nor declared lost", seq, id)
			}
		}
	}
	t.Logf("%d readings and %d declared losses account for %d numbers of %d sensors", readings, len(stored.Losses), len(at), len(last))
}
