package buffer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// mustWait appends a reading that waits, stamped with seconds since the boot.
func mustWait(t testing.TB, b *Buffer, id string, seconds int64) telemetry.Frame {
	t.Helper()
	f := frame(id, 1, telemetry.Micro(seconds))
	if err := b.AppendWaiting(f, time.Duration(seconds)*time.Second); err != nil {
		t.Fatalf("AppendWaiting: %v", err)
	}
	return *f
}

func mustCommit(t testing.TB, b *Buffer) {
	t.Helper()
	if err := b.Commit(); err != nil {
		t.Fatalf("Commit: %v", err)
	}
}

// times returns what r says of each reading's time.
func times(t testing.TB, r *Reader) (times []string) {
	t.Helper()
	for _, f := range drain(t, r) {
		if f.IsLoss() {
			times = append(times, fmt.Sprintf("lost %d-%d %s", f.Lost.Seqs.First, f.Lost.Seqs.Last, f.Lost.Reason))
			continue
		}
		times = append(times, strings.TrimSpace(fmt.Sprintf("%d at %d %s", f.Seq, f.Timestamp/1000, f.Clock)))
	}
	return times
}

// TestTwoBootsBeforeTheFirstSync takes readings in three boots, of which only the
// last learns the time.
func TestTwoBootsBeforeTheFirstSync(t *testing.T) {
	d := newDisk()
	boot := func(id string) *Buffer {
		return mustOpen(t, Options{FS: d, SegmentSize: MinSegmentSize, BootID: id})
	}
	b := boot("one")
	mustWait(t, b, "a", 10)
	mustWait(t, b, "a", 20)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = boot("two")
	mustWait(t, b, "a", 5)
	mustWait(t, b, "a", 100)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = boot("three")
	r := b.Reader()
	mustWait(t, b, "a", 7)
	if got := times(t, r); got != nil {
		t.Errorf("before the clock is set: %v, want nothing", got)
	}
	if st := b.Stats(); st.Frames != 5 || st.Oldest != 0 {
		t.Errorf("stats %+v, want five readings, the oldest of unknown time", st)
	}
	b.SetClock(time.Unix(1000, 0))
	if got := times(t, r); got != nil {
		t.Errorf("before a commit: %v, want nothing", got)
	}
	mustCommit(t, b)
	b.SetClock(time.Unix(5000, 0)) // stepped: no time is another for that
	mustWait(t, b, "a", 9)         // taken before the clock was set, appended after
	mustCommit(t, b)
	mustAppend(t, b, frame("a", 1020_000, 1))

	want := []string{
		"0 at 890 estimated", "1 at 900 estimated", // the last at the start of the next boot
		"2 at 905 estimated", "3 at 1000 estimated",
		"4 at 1007", "5 at 1009", "6 at 1020",
	}
	if diff := cmp.Diff(want, times(t, r)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if st := b.Stats(); st.Oldest != 890_000 {
		t.Errorf("oldest %d, want 890000", st.Oldest)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, times(t, boot("four").Reader())); diff != "" {
		t.Errorf("in the next boot (-want +got):\n%s", diff)
	}
}

// TestTimeIsNotSaidBeforeItIsDurable has the sync fail that would make the clock
// durable: a reader that had said the time would have to say another after a
// power cut.
func TestTimeIsNotSaidBeforeItIsDurable(t *testing.T) {
	for _, op := range []string{"sync", "write"} {
		t.Run(op, func(t *testing.T) {
			d := newDisk()
			o := Options{FS: d, SegmentSize: MinSegmentSize, BootID: "one"}
			b := mustOpen(t, o)
			mustWait(t, b, "a", 10)
			mustCommit(t, b)
			mustWait(t, b, "a", 11) // something to sync besides
			b.SetClock(time.Unix(1000, 0))
			d.fault = func(was, _ string) error {
				if was == op || was == "create" {
					return syscall.EIO
				}
				return nil
			}
			if err := b.Commit(); !errors.Is(err, syscall.EIO) {
				t.Fatalf("Commit: %v, want %v", err, syscall.EIO)
			}
			if got := times(t, b.Reader()); got != nil {
				t.Errorf("said %v", got)
			}
			cut := d.cutAll()
			d.fault = nil
			for err := b.Commit(); err != nil; err = b.Commit() {
				if !errors.Is(err, syscall.EIO) {
					t.Fatalf("Commit: %v", err)
				}
			}
			if diff := cmp.Diff([]string{"0 at 1010", "1 at 1011"}, times(t, b.Reader())); diff != "" {
				t.Errorf("when it is durable (-want +got):\n%s", diff)
			}

			o.FS, o.BootID = cut, "two"
			b = mustOpen(t, o)
			b.SetClock(time.Unix(2000, 0))
			mustCommit(t, b)
			if got := times(t, b.Reader()); len(got) == 0 || got[0] != "0 at 1010" && !strings.HasSuffix(got[0], "estimated") {
				t.Errorf("after the cut: %v", got)
			}
		})
	}
}

// TestWaitingAtTheBound fills a buffer with readings that wait.
func TestWaitingAtTheBound(t *testing.T) {
	for _, tt := range []struct {
		drop Policy
		want string // a reading or the beginning of a loss
	}{
		{DropOldest, "2999 at 3999"},
		{DropOldest, "lost 0-"},
		{DropNewest, "0 at 1000"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			o := Options{FS: newDisk(), SegmentSize: MinSegmentSize, MaxSize: MinMaxSize, Drop: tt.drop, BootID: "one"}
			b := mustOpen(t, o)
			refused := 0
			for i := range int64(3000) {
				f := frame("a", 1, 1)
				f.Faults[0] = strings.Repeat("x", maxFault)
				switch err := b.AppendWaiting(f, time.Duration(i)*time.Second); {
				case errors.Is(err, ErrDropped):
					refused++
				case err != nil:
					t.Fatal(err)
				}
				if i%100 == 0 {
					mustCommit(t, b)
				}
			}
			// The last of the room goes to sensors that are new: there is none for a
			// clock record.
			for i := range 20 {
				f := frame(fmt.Sprintf("new-%d", i), 1, 1)
				f.Name = strings.Repeat("x", 20-i)
				if err := b.AppendWaiting(f, time.Hour); err != nil && !errors.Is(err, ErrDropped) {
					t.Fatal(err)
				}
			}
			b.SetClock(time.Unix(1000, 0))
			mustCommit(t, b)
			got := times(t, b.Reader())
			if len(got) == 0 {
				t.Fatal("nothing to read after the clock was set")
			}
			if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, tt.want) }) {
				t.Errorf("%s to %s, want %s", got[0], got[len(got)-1], tt.want)
			}
			there := 0
			for _, s := range got {
				if !strings.HasPrefix(s, "lost") {
					there++
				}
			}
			if tt.drop == DropNewest && (refused == 0 || there != 3000-refused) {
				t.Errorf("%d refused, %d there, want 3000 together", refused, there)
			}
		})
	}
}

// TestManyBootsBeforeTheFirstSync has the machine start again and again without
// ever learning the time, more often than the buffer can keep apart.
func TestManyBootsBeforeTheFirstSync(t *testing.T) {
	d := newDisk()
	const boots = 60
	for i := range boots {
		b := mustOpen(t, Options{FS: d, SegmentSize: MinSegmentSize, MaxSize: 1 << 20, BootID: fmt.Sprint(i)})
		mustWait(t, b, "a", 1)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	b := mustOpen(t, Options{FS: d, SegmentSize: MinSegmentSize, MaxSize: 1 << 20, BootID: "last"})
	b.SetClock(time.Unix(1000, 0))
	mustCommit(t, b)
	clocks := map[telemetry.Clock]int{}
	for _, f := range drain(t, b.Reader()) {
		clocks[f.Clock]++
		if f.Clock == telemetry.ClockUnsynced && f.Timestamp != 1 {
			t.Errorf("timestamp %d of an unsynced clock, want what it said", f.Timestamp)
		}
	}
	estimated := MinSegmentSize / (16 * clockSize)
	want := map[telemetry.Clock]int{telemetry.ClockEstimated: estimated, telemetry.ClockUnsynced: boots - estimated}
	if diff := cmp.Diff(want, clocks); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestBadPageUnderTheClock wipes the page on which a boot's clock was settled. The
// segment says it again further on.
func TestBadPageUnderTheClock(t *testing.T) {
	d := newDisk()
	o := Options{FS: d, SegmentSize: 4 * MinSegmentSize, BootID: "one"}
	b := mustOpen(t, o)
	for i := range int64(200) { // beyond the first page
		mustWait(t, b, "a", i)
	}
	settled := b.tail
	b.SetClock(time.Unix(1000, 0))
	mustCommit(t, b)
	for i := range int64(600) {
		mustAppend(t, b, frame("a", 2000_000+i, 1))
	}
	mustCommit(t, b)
	want := times(t, b.Reader())[:50]
	data := d.names[segmentName(0)].data
	page := int(settled) / pageSize * pageSize
	fill(data[page:page+pageSize], 0xa5)
	o.FS, o.BootID = d.killed(), "two"
	b = mustOpen(t, o)
	b.SetClock(time.Unix(9000, 0))
	mustCommit(t, b)
	if diff := cmp.Diff(want, times(t, b.Reader())[:50]); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
