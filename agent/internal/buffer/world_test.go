package buffer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/telltale-iot/telltale/internal/telemetry"
)

// identityKey is what names a reading.
type identityKey struct {
	id  string
	seq uint64
}

// world is a buffer on a simulated disk, and all that is known of what was
// done with it, over any number of crashes.
type world struct {
	disk *disk
	o    Options
	b    *Buffer
	r    *Reader
	boot int

	count   int64                     // of readings; their temperature is unique and grows
	sampled map[int64]telemetry.Frame // all readings, by that, with the true time
	named   map[identityKey]int64     // what each number named, for good
	said    map[identityKey]said      // what its time was said to be, for good
	now     int64                     // the true time, milliseconds
	started int64                     // when the machine was
	synced  bool                      // since then, its clock was set
	next    map[string]uint64         // above every number handed out or declared
	epoch   uint64

	unfreed   map[identityKey]bool // handed out, not freed, and not taken by a cut
	lost      map[identityKey]bool // taken by a cut, and the loss is not freed
	committed map[identityKey]bool // those certain to survive a power cut
	durable   map[identityKey]bool // those that ever were committed
	gone      map[identityKey]bool // those freed durably
	done      map[identityKey]bool // those freed since the last commit
	read      []item               // since the last restart or seek
	bulky     bool                 // readings are large, so that segments are soon full
	clean     bool                 // no loss may have happened so far
	unsure    bool                 // a cut came since the last check
	last      *Buffer              // the last one opened, whatever became of it; nil if opening it was cut
	settled   map[string]uint64    // its next numbers, at the last commit
	bounded   int                  // cuts after which what is declared was held to its bound
}

// said is the time that a reader gave a reading.
type said struct {
	timestamp int64
	clock     telemetry.Clock
}

// clockError is by how much two synchronisations of one boot differ.
const clockError = 7

// item is what the reader returned.
type item struct {
	f     telemetry.Frame
	after Position
}

func newWorld(o Options) *world {
	w := &world{
		disk: newDisk(), o: o, clean: true,
		now: 1000, synced: true, said: map[identityKey]said{},
		sampled: map[int64]telemetry.Frame{}, named: map[identityKey]int64{}, next: map[string]uint64{}, lost: map[identityKey]bool{},
		unfreed: map[identityKey]bool{}, committed: map[identityKey]bool{},
		durable: map[identityKey]bool{}, gone: map[identityKey]bool{}, done: map[identityKey]bool{},
	}
	w.o.Rand = rand.NewChaCha8([32]byte{1})
	return w
}

// open opens the buffer, unless the process is killed in the middle of it.
func (w *world) open() error {
	w.o.FS, w.o.BootID, w.last = w.disk, fmt.Sprint(w.boot), nil
	b, err := Open(w.o)
	if err != nil {
		if errors.Is(err, errDead) {
			return nil
		}
		return err
	}
	if w.epoch == 0 {
		w.epoch = b.Epoch()
	}
	if b.Epoch() != w.epoch {
		return fmt.Errorf("epoch %d, was %d", b.Epoch(), w.epoch)
	}
	w.b, w.last, w.r, w.read = b, b, b.Reader(), nil
	w.settle()
	if w.synced {
		b.SetClock(time.UnixMilli(w.started + clockError)) // nothing follows from that if it was set before
	}
	return nil
}

// settle notes the numbers from which on a power cut may take readings.
func (w *world) settle() {
	w.settled = map[string]uint64{}
	for key, s := range w.last.sensors {
		w.settled[key.id] = s.next
	}
}

// reboot starts the machine anew. It has no clock of its own if unsynced.
func (w *world) reboot(unsynced bool) {
	w.boot++
	w.now += 1 + 77*w.now%10_000
	w.started, w.synced = w.now, !unsynced
}

// sync sets the machine's clock.
func (w *world) sync() {
	w.synced = true
	if w.b != nil {
		w.b.SetClock(time.UnixMilli(w.started))
	}
}

// store appends f, as one does who knows the time or does not.
func (w *world) store(f *telemetry.Frame) error {
	if w.synced {
		return w.b.Append(f)
	}
	f.Timestamp = 1 // what such a clock says
	return w.b.AppendWaiting(f, time.Duration(w.now-w.started)*time.Millisecond)
}

func (w *world) append(id string) error {
	w.count++
	w.now += 1 + w.count%3
	f := frame(id, w.now, telemetry.Micro(w.count))
	if w.bulky {
		for m := range f.Faults {
			f.Faults[m] = strings.Repeat("x", maxFault)
		}
	} else if w.count%5 == 0 {
		f.PlaceID = "house-3"
	}
	w.sampled[w.count] = *f
	if w.b == nil {
		return nil
	}
	if err := w.store(f); err != nil {
		return w.unlessDead(err)
	}
	if err := w.name(f); err != nil {
		return err
	}
	k := identityKey{id, f.Seq}
	if f.Seq < w.next[id] {
		return fmt.Errorf("%v handed out after %d", k, w.next[id])
	}
	if w.clean && f.Seq != w.next[id] {
		return fmt.Errorf("%v handed out, want %d", k, w.next[id])
	}
	w.next[id] = f.Seq + 1
	w.unfreed[k] = true
	return nil
}

func (w *world) unlessDead(err error) error {
	if w.disk.dead {
		w.b = nil
		return nil
	}
	return err
}

// name checks that f is a reading that was sampled, and the only one of its
// name.
func (w *world) name(f *telemetry.Frame) error {
	k := identityKey{f.ID, f.Seq}
	number := numberOf(f)
	want, ok := w.sampled[number]
	if !ok {
		return fmt.Errorf("%v is invented", k)
	}
	want.Epoch, want.Seq, want.Sequenced = w.epoch, f.Seq, true
	want.Timestamp, want.Clock = f.Timestamp, f.Clock
	if *f != want {
		return fmt.Errorf("%v is %v, want %v", k, *f, want)
	}
	if other, ok := w.named[k]; ok && other != number {
		return fmt.Errorf("%v names the readings %d and %d", k, other, number)
	}
	w.named[k] = number
	return nil
}

func numberOf(f *telemetry.Frame) int64 {
	v, _ := f.Payload.Get(telemetry.Temperature)
	return int64(v)
}

// time checks what a reader says of the time of f: it is right, or said to be an
// estimate and not earlier than that nor later than the start of the next boot,
// and it will not be another.
func (w *world) time(f *telemetry.Frame) error {
	k := identityKey{f.ID, f.Seq}
	now := said{f.Timestamp, f.Clock}
	if before, ok := w.said[k]; ok && before != now {
		return fmt.Errorf("the time of %v was %v, and is %v", k, before, now)
	}
	w.said[k] = now
	late := f.Timestamp - w.sampled[numberOf(f)].Timestamp
	estimated := f.Clock == telemetry.ClockEstimated
	if late < 0 || late > clockError && !estimated || estimated && f.Timestamp > w.started+clockError {
		return fmt.Errorf("the time of %v is %d late, clock %q, machine started at %d", k, late, f.Clock, w.started)
	}
	return nil
}

func (w *world) commit() error {
	if w.b == nil {
		return nil
	}
	if err := w.b.Commit(); err != nil {
		return w.unlessDead(err)
	}
	w.madeDurable()
	return nil
}

// madeDurable notes that the medium has all.
func (w *world) madeDurable() {
	clear(w.committed)
	w.settle()
	for k := range w.unfreed {
		w.committed[k], w.durable[k] = true, true
	}
	for k := range w.done {
		w.gone[k] = true
	}
	clear(w.done)
}

// readSome reads up to n frames on and checks them.
func (w *world) readSome(n int) error {
	for ; n > 0 && w.b != nil; n-- {
		var f telemetry.Frame
		p, err := w.r.Next(&f)
		if errors.Is(err, ErrEnd) {
			return nil
		}
		if err != nil {
			return w.unlessDead(err)
		}
		if f.Epoch != w.epoch || !f.Sequenced {
			return fmt.Errorf("epoch %d of %v", f.Epoch, f)
		}
		if f.IsLoss() {
			if w.clean {
				return fmt.Errorf("loss without cause: %v", f)
			}
			for k := range w.durable {
				if declared([]telemetry.Frame{f}, k) {
					return fmt.Errorf("%v was committed, and is declared lost", k)
				}
			}
			w.next[f.ID] = max(w.next[f.ID], f.Lost.Seqs.Last+1)
		} else {
			if err := errors.Join(w.name(&f), w.time(&f)); err != nil {
				return err
			}
			if k := (identityKey{f.ID, f.Seq}); w.gone[k] {
				return fmt.Errorf("%v came back after it was freed durably", k)
			}
			w.next[f.ID] = max(w.next[f.ID], f.Seq+1)
		}
		w.read = append(w.read, item{f, p})
	}
	return nil
}

// free frees the first n of what was read.
func (w *world) free(n int) error {
	n = min(n, len(w.read))
	if n == 0 || w.b == nil {
		return nil
	}
	if err := w.b.Free(w.read[n-1].after); err != nil {
		return err
	}
	for _, it := range w.read[:n] {
		if !it.f.IsLoss() {
			k := identityKey{it.f.ID, it.f.Seq}
			delete(w.unfreed, k)
			delete(w.committed, k)
			w.done[k] = true
			continue
		}
		for k := range w.lost {
			if declared([]telemetry.Frame{it.f}, k) {
				delete(w.lost, k)
			}
		}
	}
	w.read = w.read[n:]
	return nil
}

func (w *world) seekBack() {
	if w.b != nil {
		w.r.Seek(0)
		w.read = nil
	}
}

func (w *world) close() error {
	if w.b == nil {
		return nil
	}
	err := w.b.Close()
	w.b = nil
	if err != nil {
		return w.unlessDead(err)
	}
	w.madeDurable()
	return nil
}

// restart opens the buffer anew after a kill or a cut, and checks that all that
// should be there is.
func (w *world) restart(power bool, rng *rand.Rand) error {
	w.b = nil
	w.done = map[identityKey]bool{}
	torn := w.disk.torn
	var limits map[string]uint64
	if power {
		disk, unsynced := w.disk.cut(rng), w.disk.unsynced()
		w.disk = disk
		w.reboot(rng.IntN(2) == 0)
		w.clean, w.unsure = false, true
		limits = w.limits(unsynced)
	} else {
		w.disk = w.disk.killed()
		w.clean = w.clean && !torn
	}
	if err := w.open(); err != nil {
		return err
	}
	if err := w.within(limits); err != nil {
		return err
	}
	return w.check()
}

// limits returns how far each sensor's numbers may move on, after a power cut that
// could take or tear this many bytes: to the last mark, or as far as they could hide
// one. It returns nil if the cut came while a segment was begun.
func (w *world) limits(unsynced uint64) map[string]uint64 {
	i, err := Inspect(Options{FS: w.disk.copy()})
	if err != nil || i.found.scanned > 1 || w.last == nil {
		return nil
	}
	limits := map[string]uint64{}
	for key, s := range w.last.sensors {
		hidden := 1 + unsynced/minNumber
		from := s.next
		if i.found.cutHead {
			from = max(from, s.marked)
		}
		used := s.next - w.settled[key.id]
		limits[key.id] = max(s.marked, from+hidden+min(max(w.o.ReserveAhead, 2*(used+hidden)), MaxReserveAhead))
	}
	return limits
}

// within checks that the numbers of no sensor go on behind its limit.
func (w *world) within(limits map[string]uint64) error {
	if limits == nil || w.b == nil {
		return nil
	}
	w.bounded++
	for key, s := range w.b.sensors {
		if s.next > limits[key.id] {
			return fmt.Errorf("%s goes on at %d after a power cut, want at most %d", key.id, s.next, limits[key.id])
		}
	}
	return nil
}

// check reads all and compares it with what is known.
func (w *world) check() error {
	w.seekBack()
	if err := w.readSome(1 << 30); err != nil || w.b == nil {
		return err
	}
	power := w.unsure
	w.unsure = false
	there := map[identityKey]bool{}
	var lost []telemetry.Frame
	var last int64
	r := w.b.Reader()
	r.raw = true
	for {
		var f telemetry.Frame
		if _, err := r.Next(&f); errors.Is(err, ErrEnd) {
			break
		} else if err != nil {
			return w.unlessDead(err)
		}
		if f.IsLoss() {
			lost = append(lost, f)
			continue
		}
		k := identityKey{f.ID, f.Seq}
		if there[k] {
			return fmt.Errorf("%v comes twice", k)
		}
		there[k] = true
		if err := w.name(&f); err != nil {
			return err
		}
		w.next[f.ID] = max(w.next[f.ID], f.Seq+1)
		if numberOf(&f) <= last {
			return fmt.Errorf("%v is out of order", k)
		}
		last = numberOf(&f)
	}
	for k := range w.unfreed {
		if there[k] {
			continue
		}
		if w.committed[k] {
			return fmt.Errorf("%v was committed and is missing", k)
		}
		if !power {
			return fmt.Errorf("%v was appended and a kill took it", k)
		}
		delete(w.unfreed, k)
		w.lost[k] = true
	}
	for k := range w.lost {
		if !there[k] && !declared(lost, k) {
			return fmt.Errorf("%v is missing and not declared", k)
		}
	}
	return nil
}

func declared(lost []telemetry.Frame, k identityKey) bool {
	for _, l := range lost {
		if l.ID == k.id && k.seq >= l.Lost.Seqs.First && k.seq <= l.Lost.Seqs.Last {
			return true
		}
	}
	return false
}

var sensorIDs = []string{"a", "b", "c.out"}

func (w *world) appendAll(n int) error {
	for i := range n {
		if err := w.append(sensorIDs[i%len(sensorIDs)]); err != nil {
			return err
		}
	}
	return nil
}
