//go:build hil

package hil_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/telltale-iot/telltale/internal/await"
	"github.com/telltale-iot/telltale/simulator/disk"
	"github.com/telltale-iot/telltale/simulator/hil"
)

// nobody is a broker that is not there.
const nobody = "127.0.0.1:9"

// TestPowerCutControls holds the test of power cuts to what is known: it must
// find out who does not flush, and must not find out who does.
func TestPowerCutControls(t *testing.T) {
	t.Parallel()
	files := programs(t)
	const writes = 150
	for _, test := range []struct {
		name         string
		how          string // argument of the guest's writer; "" has the agent write
		mountOptions string
		loses        bool
	}{
		{"append and fdatasync", "append", "", false},
		{"append and fdatasync on a file system that does not flush", "append", "barrier=0", true},
		{"preallocate and sync_file_range", "range", "", true},
		{"the agent", "", "", false},
		{"the agent on a file system that does not flush", "", "barrier=0", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			image := newImage(t)
			d, drive := powerOn(t, image, rand.New(rand.NewPCG(0, 0)))
			d.CutAfter(writes, disk.LoseAll)
			g := boot(t, files, drive)
			var broken []string
			promised := 0
			if test.how == "" {
				p := newPromises(func() uint64 { return 0 })
				untilOff(t, d, g, func(ctx context.Context) error {
					return g.runAgent(ctx, run{
						config: agentConfig(nobody, 20*time.Millisecond), options: test.mountOptions, witnessed: &witness{promises: p, first: map[string]uint64{}},
					})
				})
				left, err := readImage(image)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range p.latest(0) {
					promised += int(c.count)
				}
				broken = p.check(left, 0)
			} else {
				records := &counter{}
				untilOff(t, d, g, func(ctx context.Context) error { return g.runWriter(ctx, test.how, test.mountOptions, records) })
				promised = records.n
				there, err := readRecords(image)
				if err != nil {
					t.Fatal(err)
				}
				if there < promised {
					broken = []string{fmt.Sprintf("%d records are there", there)}
				}
			}
			t.Logf("%d promises; broken: %q", promised, broken)
			if promised == 0 {
				t.Error("nothing was promised")
			}
			if found := len(broken) > 0; found != test.loses {
				t.Errorf("found out: %t, want %t", found, test.loses)
			}
		})
	}
}

// counter counts lines.
type counter struct{ n int }

func (c *counter) Write(b []byte) (int, error) {
	c.n += bytes.Count(b, []byte{'\n'})
	return len(b), nil
}

// runWriter has the guest's writer write to the disk until the machine ends.
func (g *guest) runWriter(ctx context.Context, how, mountOptions string, out io.Writer) error {
	if err := g.Mount(ctx, "/dev/vda", "/data", "ext4", mountOptions); err != nil {
		return err
	}
	exit, err := g.Run(ctx, hil.Command{Args: []string{"/bin/writer", how, "/data/records"}, Stdout: out, Stderr: g.stderr})
	if err != nil {
		return err
	}
	return fmt.Errorf("the writer ended: %+v", exit)
}

// readRecords returns how many records of the writer's are on the disk, from the
// first on.
func readRecords(image string) (int, error) {
	if err := recoverImage(image); err != nil {
		return 0, err
	}
	file := filepath.Join(filepath.Dir(image), "records")
	if out, err := tool("debugfs", "-R", "dump /records "+file, image).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("debugfs: %w\n%s", err, out)
	}
	data, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n := 0
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); n++ {
		if strings.TrimLeft(lines.Text(), "0") != strings.TrimLeft(fmt.Sprint(n), "0") {
			break
		}
	}
	return n, nil
}

// TestKillOfQEMU is a smoke test and no power cut: the host has all that QEMU
// wrote, flushed or not.
func TestKillOfQEMU(t *testing.T) {
	t.Parallel()
	image := newImage(t)
	g := boot(t, programs(t), "file="+image+",format=raw,cache=writeback")
	p := newPromises(func() uint64 { return 0 })
	w := &witness{promises: p, first: map[string]uint64{}}
	ended := make(chan error, 1)
	go func() {
		ended <- g.runAgent(t.Context(), run{config: agentConfig(nobody, 20*time.Millisecond), witnessed: w})
	}()
	await.True(t, powerLimit, "readings are committed", func() bool {
		select {
		case err := <-ended:
			t.Fatal(err)
		default:
		}
		m, _ := w.state()
		return m.readings[device] > 100
	})
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	left, err := readImage(image)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range p.check(left, 0) {
		t.Error(b)
	}
}
