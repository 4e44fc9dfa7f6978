package buffer

import (
	"cmp"
	"context"
	"maps"
	"slices"
)

// Contents is what is in a buffer. Times are Unix milliseconds.
type Contents struct {
	Epoch    uint64   `json:"epoch"`
	Format   int      `json:"format"`
	Restored bool     `json:"identity_damaged"` // it was taken from a segment
	Segments int      `json:"segments"`
	Bytes    int64    `json:"bytes"` // of all files, preallocation included
	First    Position `json:"first"` // position on the medium
	Cursor   Position `json:"cursor"`
	End      Position `json:"end"`

	// Not freed: readings, and numbers that are declared lost, by reason.
	Readings uint64            `json:"readings"`
	Waiting  uint64            `json:"waiting"`          // of Readings, those that wait until their time is known
	Oldest   int64             `json:"oldest,omitempty"` // of those whose time is known
	Newest   int64             `json:"newest,omitempty"`
	Lost     map[string]uint64 `json:"lost"`

	Sensors []SensorContents `json:"sensors"`
	Boot    uint64           `json:"boot"`    // the number of the last boot of the machine
	BootID  string           `json:"boot_id"` // and the kernel's name for it
	Clocks  []BootClock      `json:"clocks"`  // of boots in which readings were taken before the time was known

	Damage  []Damage `json:"damage"`  // one for each segment and kind: the first place, and all bytes
	Unended int64    `json:"unended"` // bytes behind the last record: being written, or cut by a crash
}

// SensorContents is what is in a buffer of one sensor.
type SensorContents struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	PlaceID string `json:"place_id"`
	// Memory is not 0 if the readings were taken over from memory, where they had
	// this epoch.
	Memory uint64 `json:"memory_epoch,omitempty"`

	Readings uint64            `json:"readings"` // not freed
	Waiting  uint64            `json:"waiting"`
	First    uint64            `json:"first"` // sequence numbers, if there are readings
	Last     uint64            `json:"last"`
	Oldest   int64             `json:"oldest,omitempty"`
	Newest   int64             `json:"newest,omitempty"`
	Lost     map[string]uint64 `json:"lost,omitempty"`
	Next     uint64            `json:"next"` // all below it are recorded, or declared lost
	Mark     uint64            `json:"mark"` // all at or above it were never used
}

// BootClock is what is known of the wall clock in a boot of the machine.
type BootClock struct {
	Boot     uint64 `json:"boot"`
	State    string `json:"state"`             // waiting, synced or estimated
	Started  int64  `json:"started,omitempty"` // when CLOCK_BOOTTIME was 0, if that is known
	Readings uint64 `json:"readings"`          // not freed, which rest on it
}

var clockStates = [...]string{"waiting", "synced", "estimated"}

// Contents reads all that is on the medium.
func (i *Inspection) Contents(ctx context.Context) (*Contents, error) {
	b := i.b
	c := &counting{
		Contents: Contents{
			Epoch: b.id.epoch, Format: formatVersion, Restored: i.restored,
			Segments: len(b.segs), Bytes: i.size, Cursor: b.freed, End: b.tail,
			Lost: map[string]uint64{}, Damage: []Damage{}, Boot: b.boot, BootID: i.found.boot, Unended: i.torn,
		},
		sensors: map[sensorKey]*SensorContents{},
		boots:   map[uint64]uint64{},
	}
	if len(b.segs) > 0 {
		c.First = b.segs[0].base
	}
	for _, s := range b.order {
		sc := c.sensor(s.label)
		sc.Next, sc.Mark = s.next, s.marked
	}
	nothing := func(*record) error { return nil }
	if err := i.walk(ctx, visitor{record: nothing, damage: c.damaged}); err != nil {
		return nil, err
	}
	err := i.follow(ctx, func(s *Shown) error {
		c.count(s, b.keyOf(&s.Frame))
		return nil
	})
	c.clocks(b.boots)
	c.Sensors = []SensorContents{}
	for _, key := range slices.SortedFunc(maps.Keys(c.sensors), func(a, b sensorKey) int {
		return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.epoch, b.epoch))
	}) {
		c.Sensors = append(c.Sensors, *c.sensors[key])
	}
	return &c.Contents, err
}

// counting fills Contents.
type counting struct {
	Contents
	sensors map[sensorKey]*SensorContents
	boots   map[uint64]uint64 // readings that rest on the clock of one
}

func (c *counting) sensor(l label) *SensorContents {
	s := c.sensors[l.sensorKey]
	if s == nil {
		s = &SensorContents{ID: l.id, Memory: l.epoch}
		c.sensors[l.sensorKey] = s
	}
	s.Name, s.PlaceID = l.name, l.placeID
	return s
}

func (c *counting) damaged(d Damage) error {
	if n := len(c.Damage); n > 0 && c.Damage[n-1].Segment == d.Segment && c.Damage[n-1].What == d.What {
		c.Damage[n-1].Bytes += d.Bytes
		return nil
	}
	c.Damage = append(c.Damage, d)
	return nil
}

func (c *counting) count(f *Shown, key sensorKey) {
	s := c.sensor(label{key, f.Name, f.PlaceID})
	if f.IsLoss() {
		if s.Lost == nil {
			s.Lost = map[string]uint64{}
		}
		s.Lost[f.Lost.Reason] += f.Lost.Seqs.Len()
		c.Lost[f.Lost.Reason] += f.Lost.Seqs.Len()
		return
	}
	if s.Readings == 0 {
		s.First = f.Seq
	}
	s.Last = f.Seq
	s.Readings++
	c.Readings++
	if f.Boot != 0 {
		c.boots[f.Boot]++
	}
	if f.Waiting {
		s.Waiting++
		c.Waiting++
		return
	}
	span(&s.Oldest, &s.Newest, f.Timestamp)
	span(&c.Oldest, &c.Newest, f.Timestamp)
}

// span makes the time from oldest to newest include t. 0 is none.
func span(oldest, newest *int64, t int64) {
	if *oldest == 0 || t < *oldest {
		*oldest = t
	}
	if *newest == 0 || t > *newest {
		*newest = t
	}
}

func (c *counting) clocks(boots map[uint64]*bootClock) {
	c.Clocks = []BootClock{}
	for _, boot := range slices.Sorted(maps.Keys(boots)) {
		known := boots[boot]
		clock := BootClock{Boot: boot, State: clockStates[known.state], Readings: c.boots[boot]}
		if known.state != clockWaiting {
			clock.Started = known.offset
		}
		c.Clocks = append(c.Clocks, clock)
	}
}
