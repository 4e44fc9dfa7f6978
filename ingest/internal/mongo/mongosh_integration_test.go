//go:build integration

package mongo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/ingest/internal/sink"
	"github.com/telltale-iot/telltale/ingest/internal/window"
	"github.com/telltale-iot/telltale/internal/telemetry"
)

// The pages whose queries people copy.
var (
	questions = filepath.Join(root, "ingest/mongosh.md")
	whyGone   = filepath.Join(root, "ingest/missing-readings.md")
)

// query is a block of a page.
type query struct {
	line   int
	code   string
	output *string // what the page says that it prints; nil if it does not say
	from   int     // where the output is in the page
}

var (
	block  = regexp.MustCompile("(?s)```js\n(.*?)\n```\n(?:\n```text\n(.*?)```\n)?")
	sizes  = regexp.MustCompile(`name: 'iot_frames',\s+documents: 25,\s+bytes: [1-9]`)
	served = regexp.MustCompile(`^// (?:by the index (\S+)|(reads the whole collection))\n`)
)

func queries(t *testing.T, page string) (text string, found []query) {
	t.Helper()
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	text = string(data)
	for _, m := range block.FindAllStringSubmatchIndex(text, -1) {
		q := query{line: strings.Count(text[:m[0]], "\n") + 2, code: text[m[2]:m[3]]}
		if m[4] >= 0 {
			output := text[m[4]:m[5]]
			q.output, q.from = &output, m[4]
		}
		found = append(found, q)
	}
	return text, found
}

// shell is mongosh at the test's database.
type shell struct {
	t    *testing.T
	path string
	uri  string
	home string
}

func newShell(t *testing.T, database string) *shell {
	t.Helper()
	const where = `. deploy/local/versions.env && echo "${TELLTALE_CACHE:-$HOME/.cache/telltale}/mongosh-$MONGOSH_VERSION-node-$NODE_VERSION/bin/mongosh"`
	command := exec.Command("sh", "-c", where)
	command.Dir = root
	path, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	server, options, _ := strings.Cut(serverURI, "?")
	scheme, hosts, _ := strings.Cut(server, "://")
	hosts, _, _ = strings.Cut(hosts, "/")
	s := &shell{t: t, path: strings.TrimSpace(string(path)), home: t.TempDir(), uri: scheme + "://" + hosts + "/" + database + "?" + options}
	if _, err := os.Stat(s.path); err != nil {
		t.Fatalf("%v: deploy/local/install mongosh installs it", err)
	}
	return s
}

// eval returns what mongosh prints for the code.
func (s *shell) eval(code string) string {
	s.t.Helper()
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(s.t.Context(), s.path, "--quiet", "--norc", s.uri, "--eval", code)
	command.Env = append(os.Environ(), "HOME="+s.home, "NO_COLOR=1")
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		s.t.Fatalf("mongosh: %v\n%s\n%s%s", err, code, stdout.String(), stderr.String())
	}
	return stdout.String()
}

// answers returns what mongosh prints for each query, as it does when they are
// typed one by one; nothing if it finds nothing.
func (s *shell) answers(all []query) []string {
	s.t.Helper()
	const end = "\n-- end of an answer --\n"
	var code strings.Builder
	for _, q := range all {
		fmt.Fprintf(&code, "print(%s\n)\nprint(%q)\n", strings.TrimSpace(q.code), end)
	}
	texts := strings.SplitAfter(s.eval(code.String()), end)
	if len(texts) != len(all)+1 {
		s.t.Fatalf("%d answers to %d queries", len(texts)-1, len(all))
	}
	texts = texts[:len(all)]
	for i := range texts {
		if texts[i] = strings.TrimSpace(strings.TrimSuffix(texts[i], end)); texts[i] != "" {
			texts[i] += "\n"
		}
	}
	return texts
}

// plan is what the server would do for a query.
type plan struct {
	indexes []string // that it would use
	whole   bool     // whether it would read a whole collection
}

// plans asks the server about each query.
func (s *shell) plans(all []query) []plan {
	s.t.Helper()
	var codes []string
	for _, q := range all {
		codes = append(codes, "("+q.code+"\n).explain('queryPlanner')")
	}
	text := s.eval("print(EJSON.stringify([" + strings.Join(codes, ",\n") + "]))")
	var explained []any
	if err := json.Unmarshal([]byte(text), &explained); err != nil || len(explained) != len(all) {
		s.t.Fatalf("explain: %v\n%s", err, text)
	}
	found := make([]plan, len(all))
	for i, e := range explained {
		found[i].read(e, false)
	}
	return found
}

func (p *plan) read(explained any, winning bool) {
	switch v := explained.(type) {
	case []any:
		for _, e := range v {
			p.read(e, winning)
		}
	case map[string]any:
		if name, ok := v["indexName"].(string); ok && winning {
			p.indexes = append(p.indexes, name)
			p.indexes = slices.Compact(p.indexes) // each shard has a plan
		}
		p.whole = p.whole || winning && v["stage"] == "COLLSCAN"
		for key, e := range v {
			p.read(e, winning && key != "rejectedPlans" || key == "winningPlan")
		}
	}
}

// TestQuestions runs the queries of mongosh.md on a day that is known. With
// -update it writes their output into the page.
func TestQuestions(t *testing.T) {
	c, _ := connect(t)
	c.options.FramesTTL = 10 * 365 * 24 * time.Hour // which the day is younger than
	loadDay(t, c)
	s := newShell(t, databaseOf(t, c).Name())
	text, all := queries(t, questions)
	written, from := "", 0
	var explained []query
	answers := s.answers(all)
	for i, q := range all {
		got := answers[i]
		if q.output != nil {
			if *q.output != got && !*update {
				t.Errorf("mongosh.md:%d: -page +mongosh:\n%s", q.line, cmp.Diff(*q.output, got))
			}
			written += text[from:q.from] + got
			from = q.from + len(*q.output)
		} else if !sizes.MatchString(got) && !isPython(t) {
			t.Errorf("mongosh.md:%d: mongosh says\n%s", q.line, got)
		}
		if served.MatchString(q.code) {
			explained = append(explained, q)
		}
	}
	plans := s.plans(explained)
	if isPython(t) {
		plans = nil
	}
	for i, plan := range plans {
		m := served.FindStringSubmatch(explained[i].code)
		if plan.whole != (m[2] != "") || m[1] != "" && (len(plan.indexes) != 1 || plan.indexes[0] != m[1]) {
			t.Errorf("mongosh.md:%d: %s: the server would do %+v", explained[i].line, strings.TrimSpace(m[0]), plan)
		}
	}
	if *update {
		if err := os.WriteFile(questions, []byte(written+text[from:]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < 15 || len(explained) < 13 {
		t.Errorf("%d queries found, %d that name an index", len(all), len(explained))
	}
}

// TestWhyMissing runs the queries of missing-readings.md.
func TestWhyMissing(t *testing.T) {
	c, _ := connect(t)
	loadDay(t, c)
	s := newShell(t, databaseOf(t, c).Name())
	_, all := queries(t, whyGone)
	// What each must show, in the page's order.
	want := [][]string{
		{"_id: 'greenhouse-7/6712453190227881/7-7/buffer_full'", "_id: 'greenhouse-7/6712453190227881/10-11/power_cut'"},
		{"2026-03-14T10:05:00", "missing_ranges", "first: Long('8')", "lost_ranges", "reason: 'buffer_full'"},
		{"_id: 'greenhouse-7/6712453190227881/21'", "clock: 'estimated'"},
	}
	if len(all) != len(want) {
		t.Fatalf("%d queries, want %d", len(all), len(want))
	}
	answers := s.answers(all)
	for i, q := range all {
		got := answers[i]
		for _, words := range want[i] {
			if !strings.Contains(got, words) {
				t.Errorf("missing-readings.md:%d: mongosh says\n%s\nwant %s in it", q.line, got, words)
			}
		}
	}
	if isPython(t) {
		return
	}
	for i, plan := range s.plans(all) {
		if plan.whole || len(plan.indexes) != 1 {
			t.Errorf("missing-readings.md:%d: the server would do %+v", all[i].line, plan)
		}
	}
}

// TestShardingCommands runs those of README.md in mongosh, with an sh that tells
// what it was asked for in the place of a cluster's.
func TestShardingCommands(t *testing.T) {
	c, _ := connect(t)
	s := newShell(t, databaseOf(t, c).Name())
	_, all := queries(t, "README.md")
	if len(all) != 1 {
		t.Fatalf("%d blocks, want 1", len(all))
	}
	got := s.eval("(sh => {" + all[0].code + "\n})({shardCollection: (name, key) => print(name + ' ' + EJSON.stringify(key))})")
	want := ""
	for _, collection := range []string{frames, losses, sensors, places} {
		want += "iot." + collection + ` {"_id":1}` + "\n"
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +asked for:\n%s", diff)
	}
}

// loadDay stores a day of three sensors as ingest would: greenhouse-7 reads
// each minute from 10:00; of its readings 7 and 10 to 11 are declared lost, 8 is
// missing, 17 came late, and the clock of 21 is not sure.
func loadDay(t *testing.T, c *Client) {
	t.Helper()
	ctx := t.Context()
	const epoch = 6712453190227881
	begin := time.Date(2026, 3, 14, 10, 0, 0, 123e6, time.UTC).UnixMilli()
	reading := func(id, name, place string, n int) sink.Frame {
		f := sink.Frame{Device: id, Frame: telemetry.Frame{
			ID: id, Name: name, PlaceID: place, Timestamp: begin + int64(n)*60_000, Sequenced: true, Epoch: epoch, Seq: uint64(n),
		}}
		f.Payload.Set(telemetry.Temperature, telemetry.Micro(21_000_000+n*50_000))
		f.Payload.Set(telemetry.Humidity, telemetry.Micro(44_200_000-n*100_000))
		return f
	}
	var all []sink.Frame
	var late sink.Frame
	for n := range 23 {
		f := reading("greenhouse-7", "Greenhouse 7", "house-2", n)
		switch n {
		case 7, 8, 10, 11:
			continue
		case 13:
			f.Payload = telemetry.Payload{}
			f.Payload.Set(telemetry.Temperature, 21_650_000)
			f.Faults[telemetry.Humidity] = "nack"
		case 17:
			late = f
			continue
		case 21:
			f.Clock = telemetry.ClockEstimated
		}
		all = append(all, f)
	}
	for n := range 5 {
		all = append(all, reading("greenhouse-8", "Greenhouse 8", "house-2", n))
	}
	kitchen := reading("kitchen", "Kitchen", "home", 3)
	kitchen.Sequenced, kitchen.Epoch, kitchen.Seq, kitchen.Device = false, 0, 0, ""
	all = append(all, kitchen, late)

	declared := []window.Declared{
		{Sensor: "greenhouse-7", Epoch: epoch, Loss: telemetry.Loss{Seqs: telemetry.SeqRange{First: 7, Last: 7}, Reason: "buffer_full"}},
		{Sensor: "greenhouse-7", Epoch: epoch, Loss: telemetry.Loss{Seqs: telemetry.SeqRange{First: 10, Last: 11}, Reason: "power_cut"}},
	}
	if err := c.EnsureIndexes(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.PutLosses(ctx, declared); err != nil {
		t.Fatal(err)
	}
	stored := func(answers []error, err error) {
		t.Helper()
		for _, answer := range answers {
			if err == nil {
				err = answer
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	stored(c.PutFrames(ctx, all))

	// The windows in the order of their first frames; each is stored when all
	// but the late frame are there, and once more with it.
	windows := make(map[string]*window.Window)
	houses := make(map[string]*window.Place)
	revisions := make(map[string]int64)
	store := func(w *window.Window) {
		t.Helper()
		id := w.ID(w.Sensor)
		revisions[id]++
		missing, lost := window.Explain(w.Gaps(), declared)
		d, parts := w.Document(revisions[id], missing, lost)
		stored(c.PutSensors(ctx, []*window.Document{d}))
		for i := range parts {
			house := w.ID(parts[i].Place)
			if houses[house] == nil {
				houses[house] = window.NewPlace(parts[i].Place, w.Interval)
			}
			if _, err := houses[house].Apply(&parts[i]); err != nil {
				t.Fatal(err)
			}
			revisions[house]++
			stored(c.PutPlaces(ctx, []*window.Document{houses[house].Document(revisions[house])}))
		}
	}
	var order []string
	for i := range all {
		f := &all[i].Frame
		interval := window.IntervalOf(f.Timestamp, 5*time.Minute)
		id := interval.ID(f.ID)
		if windows[id] == nil {
			windows[id] = window.New(f.ID, interval)
			order = append(order, id)
		}
		if f.Seq == late.Seq && f.ID == late.ID {
			for _, id := range order {
				store(windows[id])
			}
			order = []string{id}
		}
		if _, err := windows[id].Count(f); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range order {
		store(windows[id])
	}
}
