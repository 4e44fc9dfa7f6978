//go:build hil

package hil_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/telltale-iot/telltale/internal/telemetry"
	"github.com/telltale-iot/telltale/simulator/disk"
	"github.com/telltale-iot/telltale/simulator/disk/nbd"
)

// imageSize is the disk's: large enough for ext4 with blocks of 4 KiB, the
// smallest journal and the agent's buffer.
const imageSize = 32 << 20

// newImage makes an ext4 in a file, without checksums of its metadata: with them,
// ext4 is lost when its superblock, which has two sectors, is torn.
func newImage(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, imageSize); err != nil {
		t.Fatal(err)
	}
	if out, err := tool("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-O", "^metadata_csum", "-J", "size=4", "-E", "lazy_itable_init=0,lazy_journal_init=0", file).CombinedOutput(); err != nil {
		t.Fatalf("mke2fs: %v\n%s", err, out)
	}
	return file
}

// tool is a program that a user's PATH may not have.
func tool(name string, args ...string) *exec.Cmd {
	path, err := exec.LookPath(name)
	if err != nil {
		path = "/sbin/" + name
	}
	c := exec.Command(path, args...)
	c.Env = append(os.Environ(), "LC_ALL=C")
	return c
}

// powerOn serves an image as a disk with a volatile cache until the test ends,
// and returns it and the argument that has QEMU use it.
func powerOn(t *testing.T, image string, random *rand.Rand) (d *disk.Disk, drive string) {
	t.Helper()
	medium, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "nbd") // a socket's name must be short
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	d = disk.New(medium, imageSize, random)
	done := make(chan error, 1)
	go func() { done <- nbd.Serve(t.Context(), l, d) }()
	t.Cleanup(func() { // t.Context has ended
		if err := errors.Join(<-done, medium.Close(), os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	return d, "file=nbd+unix:///?socket=" + l.Addr().String() + ",format=raw,cache=writeback"
}

// harmless is all that e2fsck may say when it repairs a file system whose
// journal was replayed: the kernel does the same when it mounts one.
var harmless = regexp.MustCompile(`^(\S+: recovering journal|\S+: Clearing orphaned inode .*|\S+: \d+/\d+ files \(.*\), \d+/\d+ blocks|)$`)

// recoverImage replays the journal of a file system whose disk has lost its
// power, and says what is wrong with it then.
func recoverImage(image string) error {
	out, err := tool("e2fsck", "-p", "-f", image).CombinedOutput()
	if code := exitCode(err); code > 1 {
		return fmt.Errorf("e2fsck -p: code %d\n%s", code, out)
	}
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); !harmless.MatchString(line) {
			return fmt.Errorf("e2fsck -p: %s", line)
		}
	}
	if out, err := tool("e2fsck", "-f", "-n", image).CombinedOutput(); err != nil {
		return fmt.Errorf("e2fsck -n: %w\n%s", err, out)
	}
	return nil
}

// exitCode is that of a program that was started, 0 for nil.
func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// number is a reading of a sensor, in an epoch that is known from elsewhere.
type number struct {
	sensor string
	seq    uint64
}

// contents is what the agent's buffer on a disk has.
type contents struct {
	epoch    uint64 // 0: there is no buffer
	readings map[number]telemetry.Frame
	next     map[string]uint64 // by sensor: the number that an agent begins with here
}

// readImage returns what the agent finds in its buffer on a disk that has lost
// its power. The image's journal is replayed.
func readImage(image string) (*contents, error) {
	if err := recoverImage(image); err != nil {
		return nil, err
	}
	c := &contents{readings: make(map[number]telemetry.Frame), next: make(map[string]uint64)}
	dir, err := os.MkdirTemp(filepath.Dir(image), "read")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is in the image's temporary folder
	// debugfs has no exit codes. What it says of an absent folder is no error here.
	if out, err := tool("debugfs", "-R", "rdump /buffer "+dir, image).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("debugfs: %w\n%s", err, out)
	}
	dir = filepath.Join(dir, "buffer")
	stat, err := agentBuffer("stat", "--dir", dir, "--format", "json")
	if err != nil {
		if exitCode(err) == 2 { // there is none yet
			return c, nil
		}
		return nil, err
	}
	var s struct {
		Epoch   uint64
		Sensors []struct {
			ID   string
			Next uint64
		}
	}
	if err := json.Unmarshal(stat, &s); err != nil {
		return nil, fmt.Errorf("buffer stat: %w", err)
	}
	c.epoch = s.Epoch
	for _, sensor := range s.Sensors {
		c.next[sensor.ID] = sensor.Next
	}
	dump, err := agentBuffer("dump", "--dir", dir, "--all", "--waiting")
	if err != nil {
		return nil, err
	}
	var decoder telemetry.Decoder
	for line := range bytes.Lines(dump) {
		var f telemetry.Frame
		var waiting struct {
			Frame struct {
				ID         string
				Epoch, Seq uint64
			}
		}
		if bytes.HasPrefix(line, []byte(`{"waiting":`)) { // it has no timestamp yet
			if err := json.Unmarshal(line, &waiting); err != nil {
				return nil, fmt.Errorf("buffer dump: %w: %s", err, line)
			}
			f = telemetry.Frame{ID: waiting.Frame.ID, Epoch: waiting.Frame.Epoch, Seq: waiting.Frame.Seq, Sequenced: true}
		} else if err := decoder.Decode(bytes.TrimSpace(line), &f); err != nil {
			return nil, fmt.Errorf("buffer dump: %w: %s", err, line)
		}
		if f.IsLoss() {
			continue
		}
		if f.Epoch != c.epoch {
			return nil, fmt.Errorf("reading %s is not of epoch %d", telemetry.FrameID(&f), c.epoch)
		}
		c.readings[number{f.ID, f.Seq}] = f
	}
	verified, err := agentBuffer("verify", "--dir", dir)
	if err != nil {
		return nil, fmt.Errorf("the buffer is damaged: %w\n%s", err, verified)
	}
	for _, match := range mayHaveBeenTaken.FindAllStringSubmatch(string(verified), -1) {
		last, err := strconv.ParseUint(match[2], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("buffer verify: %w", err)
		}
		c.next[match[1]] = last + 1
	}
	return c, nil
}

// mayHaveBeenTaken is what buffer verify says of numbers that an agent will declare
// lost when it opens the buffer.
var mayHaveBeenTaken = regexp.MustCompile(`(?m)(\S+): readings? (?:\d+ to )?(\d+) may have been taken`)

// agentBuffer runs this machine's agent on a buffer.
func agentBuffer(args ...string) ([]byte, error) {
	out, err := exec.Command(filepath.Join(root, "bin/telltale-agent"), append([]string{"buffer"}, args...)...).Output()
	if err != nil {
		var stderr []byte
		if exit := new(exec.ExitError); errors.As(err, &exit) {
			stderr = exit.Stderr
		}
		err = fmt.Errorf("telltale-agent buffer %s: %w\n%s%s", strings.Join(args, " "), err, out, stderr)
	}
	return out, err
}
