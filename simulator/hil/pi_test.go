//go:build hil

package hil_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
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

// pi is a machine with chips of which nothing is known beforehand.
type pi interface {
	// put writes a file, which is a program.
	put(ctx context.Context, name string, content []byte) error
	// run runs a program to its end, unless ctx ends before. The error is its
	// own exit code's, too.
	run(ctx context.Context, args ...string) (stdout, stderr string, err error)
	// broker is where the machine reaches the host's MQTT broker.
	broker() string
}

// cannot is what no test can do to a machine that it only logs in to.
var cannot = []string{
	"a chip that does not answer, a bus held low, a stretched clock, inverted bits, a wrong checksum",
	"a brown-out, a frozen register, a slow conversion",
	"pulling and plugging the adapter or a chip",
	"a power cut",
	"a clock that starts in 1970",
	"comparing values with the truth, which nobody knows: they are held to have come from the chip just then, and to the chip's range",
}

// TestPi is the loop on a Raspberry Pi, with the chips that it has, over ssh:
// make hil-pi HOST=pi@raspberrypi. Without HOST it is the same on a virtual
// machine, which shows that what it would find is found.
func TestPi(t *testing.T) {
	host := os.Getenv("TELLTALE_HIL_HOST")
	servers := pipelinetest.Start(t)
	var p pi
	if host == "" {
		p = virtualPi(t, servers.MQTTAddr())
	} else {
		p = &secureShell{host: host, server: servers.MQTTAddr()}
		for _, what := range cannot {
			t.Logf("not injected on %s: %s", host, what)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	must := func(stdout, stderr string, err error) string {
		t.Helper()
		if err != nil {
			t.Fatalf("%v\n%s%s", err, stdout, stderr)
		}
		return stdout
	}

	machine := strings.TrimSpace(must(p.run(ctx, "uname", "-m")))
	binary, err := os.ReadFile("../../bin/telltale-agent-linux-" + binaryFor(machine))
	if err != nil {
		t.Fatal(err)
	}
	dir := strings.TrimSpace(must(p.run(ctx, "mktemp", "-d")))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), loopLimit)
		defer cancel()
		if _, stderr, err := p.run(ctx, "rm", "-rf", dir); err != nil {
			t.Errorf("%v: %s", err, stderr)
		}
	})
	agent, config := path.Join(dir, "telltale-agent"), path.Join(dir, "agent.yaml")
	if err := p.put(ctx, agent, binary); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %s", machine, must(p.run(ctx, agent, "--version")))

	document := must(p.run(ctx, agent, "detect", "--device", "pi", "--mqtt-url", "tcp://"+p.broker()))
	chips := regexp.MustCompile(`driver: \w+`).FindAllString(document, -1)
	if len(chips) == 0 {
		t.Fatalf("no chip was found:\n%s", document)
	}
	t.Logf("%d chips:\n%s", len(chips), document)
	document += fmt.Sprintf("buffer: {dir: %s/buffer, max_size: 32MiB, commit_interval: 200ms}\nuplink: {batch_age: 200ms}\n", dir)
	if err := p.put(ctx, config, []byte(document)); err != nil {
		t.Fatal(err)
	}
	// What it says of the disk does not count: a temporary folder may be in memory.
	report, _, _ := p.run(ctx, agent, "check", "--config", config)
	t.Log(report)
	for _, chip := range chips {
		if driver := strings.TrimPrefix(chip, "driver: "); !strings.Contains(report, "ok    chip "+driver+"@") {
			t.Errorf("check finds something wrong with the %s", driver)
		}
	}

	sources := verify.Sources{Brokers: []string{servers.KafkaAddr()}, MongoURI: servers.MongoURI(), Database: pipeline.Database}
	await.True(t, loopLimit, "ingest has made its topics", func() bool {
		_, err := verify.Read(ctx, sources)
		return err == nil
	})
	read := func() []telemetry.Frame {
		stored, err := verify.Read(ctx, sources)
		if err != nil {
			t.Fatal(err)
		}
		for _, loss := range stored.Losses {
			t.Errorf("declared lost: %+v", loss)
		}
		return stored.Frames
	}
	for round, signal := range []string{"KILL", "KILL", "TERM"} {
		before := len(read())
		ended := make(chan error, 1)
		go func() {
			_, _, err := p.run(ctx, agent, "run", "--config", config)
			ended <- err
		}()
		await.True(t, loopLimit, "five more readings of each sensor", func() bool {
			return len(read()) >= before+5*strings.Count(document, "- id:")
		})
		must(p.run(ctx, "pkill", "-"+signal, "-f", agent+" run"))
		if err := <-ended; signal == "TERM" && err != nil {
			t.Errorf("the agent ended with %v", err)
		}
		t.Logf("round %d: %d readings are stored; ended by SIG%s", round+1, len(read()), signal)
	}

	seqs := make(map[string][]uint64)
	for _, f := range read() {
		stream := fmt.Sprintf("%s/%d", f.ID, f.Epoch)
		seqs[stream] = append(seqs[stream], f.Seq)
		if f.Faults != (telemetry.Faults{}) {
			t.Errorf("%s: %v", telemetry.FrameID(&f), f.Faults)
		}
	}
	for stream, found := range seqs {
		slices.Sort(found)
		for i, seq := range found {
			if seq != found[0]+uint64(i) {
				t.Errorf("%s: reading %d is missing", stream, found[0]+uint64(i))
				break
			}
		}
	}
}

// binaryFor is the release binary's name for what uname -m says.
func binaryFor(machine string) string {
	switch machine {
	case "aarch64":
		return "arm64"
	case "armv7l":
		return "armv7"
	default:
		return "armv6"
	}
}

// secureShell is a machine that one logs in to.
type secureShell struct {
	program string // ssh, if empty
	host    string // as it knows it
	server  string // the broker here, which it takes there
}

// tunnel is the port of the machine that leads to the broker here.
const tunnel = "18839"

func (s *secureShell) broker() string { return net.JoinHostPort("127.0.0.1", tunnel) }

func (s *secureShell) command(ctx context.Context, remote string, options ...string) *exec.Cmd {
	args := append([]string{"-o", "BatchMode=yes"}, options...)
	return exec.CommandContext(ctx, cmp.Or(s.program, "ssh"), append(args, s.host, remote)...)
}

func (s *secureShell) put(ctx context.Context, name string, content []byte) error {
	c := s.command(ctx, fmt.Sprintf("cat >%s && chmod 700 %[1]s", quote(name)))
	c.Stdin = bytes.NewReader(content)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("write %s: %w: %s", name, err, out)
	}
	return nil
}

func (s *secureShell) run(ctx context.Context, args ...string) (string, string, error) {
	quoted := make([]string, len(args))
	for i, arg := range args {
		quoted[i] = quote(arg)
	}
	var options []string
	if slices.ContainsFunc(args, func(arg string) bool { return arg == "run" || arg == "check" }) {
		options = []string{"-o", "ExitOnForwardFailure=yes", "-R", tunnel + ":" + s.server}
	}
	var out, errs bytes.Buffer
	c := s.command(ctx, "exec "+strings.Join(quoted, " "), options...)
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if err != nil {
		err = fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return out.String(), errs.String(), err
}

func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// TestSecureShell has a shell in the place of ssh: words arrive as they were, files
// whole, and the broker is taken along where it is needed.
func TestSecureShell(t *testing.T) {
	dir := t.TempDir()
	program := path.Join(dir, "ssh")
	script := "#!/bin/sh\necho \"$@\" >>" + dir + "/log\nfor command; do :; done\nexec sh -c \"$command\"\n"
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	s := &secureShell{program: program, host: "pi@somewhere", server: "127.0.0.1:1883"}
	for _, words := range [][]string{{"printf", "%s|", "a b", "it's", "$HOME", "*"}, {"printf", "%s|", "run"}} {
		want := strings.Join(words[2:], "|") + "|"
		if out, errs, err := s.run(t.Context(), words...); err != nil || out != want {
			t.Errorf("%q: %q, %q, %v: want %q", words, out, errs, err, want)
		}
	}
	if _, errs, err := s.run(t.Context(), "sh", "-c", "echo no >&2; exit 3"); err == nil || errs != "no\n" {
		t.Errorf("a command that fails: %q, %v", errs, err)
	}
	file, content := path.Join(dir, "it's a file"), []byte("\x00\x01\n$HOME")
	if err := s.put(t.Context(), file, content); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the file is %q, %v", got, err)
	}
	log, err := os.ReadFile(path.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(log), "\n")
	const tunnelled = "-o BatchMode=yes -o ExitOnForwardFailure=yes -R 18839:127.0.0.1:1883 pi@somewhere exec "
	if !strings.HasPrefix(lines[0], "-o BatchMode=yes pi@somewhere exec ") || !strings.HasPrefix(lines[1], tunnelled) {
		t.Errorf("ssh was called with\n%s", log)
	}
}

// guestPi is a virtual machine in place of a Raspberry Pi. It has no programs of its own.
type guestPi struct {
	vm     *hil.VM
	server string

	mu     sync.Mutex
	agents map[string]*hil.Process // by their first two arguments
}

// virtualPi boots one with three chips and a clock that is right.
func virtualPi(t *testing.T, broker string) *guestPi {
	bus := i2csim.NewBus(i2csim.BusOptions{})
	for i, c := range chips()[:3] {
		chip, err := i2csim.NewChip(c.driver, i2csim.ChipOptions{Source: &weather{}, Seed: uint64(i)})
		if err != nil {
			t.Fatal(err)
		}
		if err := bus.Attach(c.address, chip); err != nil {
			t.Fatal(err)
		}
	}
	vm := hiltest.Start(t, hil.Options{Machine: hil.ARM64, Bus: bus})
	if _, _, err := vm.Adapter(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{vm.SetClock(t.Context()), vm.TrustClock(t.Context())} {
		if err != nil {
			t.Fatal(err)
		}
	}
	_, port, err := net.SplitHostPort(broker)
	if err != nil {
		t.Fatal(err)
	}
	return &guestPi{vm: vm, server: net.JoinHostPort(hil.HostAddr, port), agents: make(map[string]*hil.Process)}
}

func (g *guestPi) broker() string { return g.server }

func (g *guestPi) put(ctx context.Context, name string, content []byte) error {
	return g.vm.WriteFile(ctx, name, content, 0o700)
}

// run does what the programs of a system would, and runs the agent.
func (g *guestPi) run(ctx context.Context, args ...string) (string, string, error) {
	switch args[0] {
	case "uname":
		return "aarch64\n", "", nil
	case "mktemp":
		return "/pi\n", "", nil
	case "rm":
		return "", "", nil
	case "pkill":
		signal := syscall.SIGTERM
		if args[1] == "-KILL" {
			signal = syscall.SIGKILL
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		return "", "", g.agents[args[3]].Signal(ctx, signal)
	}
	var out, errs capture.Output
	p, err := g.vm.Start(ctx, hil.Command{Args: args, Stdout: &out, Stderr: &errs})
	if err != nil {
		return "", "", err
	}
	g.mu.Lock()
	g.agents[strings.Join(args[:min(2, len(args))], " ")] = p
	g.mu.Unlock()
	exit, err := p.Wait(ctx)
	if err == nil && exit.Code != 0 {
		err = fmt.Errorf("%s: %+v", strings.Join(args, " "), exit)
	}
	return out.String(), errs.String(), err
}
