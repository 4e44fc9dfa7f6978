package buffer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// victimDir tells a process of the test binary that it is to be killed, and
// which folder to work on.
const victimDir = "TELLTALE_BUFFER_VICTIM_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		fmt.Fprintln(os.Stderr, victim(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func victimOptions(dir string) Options {
	return Options{Dir: dir, SegmentSize: 64 << 10, MaxSize: 1 << 30, BootID: "1", ReserveAhead: 16}
}

// victim appends until it is killed, and says each reading that it appended.
func victim(dir string) error {
	b, err := Open(victimOptions(dir))
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	for i := 0; ; i++ {
		f := frame(sensorIDs[i%len(sensorIDs)], 0, telemetry.Micro(i))
		f.Timestamp = rand.Int64N(1 << 50)
		if err := b.Append(f); err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "%s %d %d\n", f.ID, f.Seq, f.Timestamp); err != nil {
			return err
		}
		if err := out.Flush(); err != nil {
			return err
		}
		if i%50 == 49 {
			if err := b.Commit(); err != nil {
				return err
			}
		}
	}
}

// TestKill kills a real process on a real folder over and over: every reading
// that it said it had appended is there, once, and nothing is declared lost.
func TestKill(t *testing.T) {
	const kills = 200
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, 2))
	said := map[identityKey]int64{}
	for range kills {
		killOnce(t, dir, rng.IntN(400), said)
	}
	b := mustOpen(t, victimOptions(dir))
	there := map[identityKey]int64{}
	for _, f := range drain(t, b.Reader()) {
		if f.IsLoss() {
			t.Errorf("declared lost: %v", f)
			continue
		}
		k := identityKey{f.ID, f.Seq}
		if _, ok := there[k]; ok {
			t.Errorf("%v comes twice", k)
		}
		there[k] = f.Timestamp
	}
	for k, ts := range said {
		if there[k] != ts {
			t.Errorf("%v is the reading of %d, want %d", k, there[k], ts)
		}
	}
	if extra := len(there) - len(said); extra > kills {
		t.Errorf("%d readings more than were said, want at most one for each kill", extra)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// killOnce runs a victim until it has said n readings and a random part of the
// next, then kills it and notes what it said.
func killOnce(t *testing.T, dir string, n int, said map[identityKey]int64) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), victimDir+"="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for i := 0; ; i++ {
		if i == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		line, err := lines.ReadString('\n')
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			break
		}
		var k identityKey
		var ts int64
		if _, err := fmt.Sscan(line, &k.id, &k.seq, &ts); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if old, ok := said[k]; ok && old != ts {
			t.Fatalf("%v names two readings", k)
		}
		said[k] = ts
	}
	if err := cmd.Wait(); err == nil || stderr.Len() > 0 {
		t.Fatalf("the victim ended by itself: %v, %s", err, stderr.String())
	}
}
