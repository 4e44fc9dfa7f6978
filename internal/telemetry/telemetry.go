package telemetry

// Measure is one of the four quantities that a frame may carry.
type Measure uint8

// The measures, in the order of their fields on the wire.
const (
	Temperature Measure = iota // degree Celsius
	Humidity                   // relative humidity, percent
	Pressure                   // hectopascal
	Luminosity                 // lux
	Measures    = 4            // how many there are
)

var measureNames = [Measures]string{"temperature", "humidity", "pressure", "luminosity"}

// String returns the measure's field name on the wire.
func (m Measure) String() string {
	if m < Measures {
		return measureNames[m]
	}
	return "unknown"
}

// Micro is a value in millionths of its measure's unit: 21.37 degree Celsius
// is 21_370_000. Being an integer it can be summed in any order to the same
// result. Its magnitude is at most [MaxMicro].
type Micro int64

// MaxMicro bounds a value on the wire to ±1e9 units, far above any physical
// reading, so that sums and sums of squares have room to be exact.
const MaxMicro Micro = 1e15

// Float returns the value in units, the double nearest to the decimal one.
func (v Micro) Float() float64 { return float64(v) / 1e6 }

// Payload holds the values of the measures that were read. The zero Payload
// is empty.
type Payload struct {
	values  [Measures]Micro
	present uint8
}

// Set stores the value of m.
func (p *Payload) Set(m Measure, v Micro) {
	p.values[m] = v
	p.present |= 1 << m
}

// Get returns the value of m, and whether there is one.
func (p *Payload) Get(m Measure) (Micro, bool) {
	return p.values[m], p.present&(1<<m) != 0
}

// Empty reports whether no measure has a value.
func (p *Payload) Empty() bool { return p.present == 0 }

// Faults names, by measure, the reason why it could not be read; "" is none.
type Faults [Measures]string

// Clock says how far a reading's timestamp can be believed. A word that is not
// below, of the form that [ValidReason] wants, is of a later version.
type Clock string

// The clocks of a reading.
const (
	// ClockSynced: the wall clock was synchronised, or the client does not say.
	ClockSynced Clock = ""

	// ClockUnsynced: the wall clock was not, and the timestamp is what it said.
	ClockUnsynced Clock = "unsynced"

	// ClockEstimated: the reading is of an earlier boot, whose wall clock never
	// was. The timestamp places that boot's last reading at the start of the next
	// boot: it is not earlier than the truth, and late by the time that the
	// machine was off between.
	ClockEstimated Clock = "estimated"
)

// SeqRange is the sequence numbers First to Last, both included.
type SeqRange struct {
	First, Last uint64
}

// Len returns how many sequence numbers the range holds.
func (r SeqRange) Len() uint64 { return r.Last - r.First + 1 }

// MaxSeq is the greatest sequence number and epoch: the greatest integer that
// every JSON reader keeps exact.
const MaxSeq = 1<<53 - 1

// MinTimestamp is 2000-01-01 UTC in Unix milliseconds: a clock that says less was
// never set, and ingest refuses what it says.
const MinTimestamp = 946_684_800_000

// Loss declares that the readings of a sequence range will not come. It is an
// upper bound: a frame of that range that arrives all the same wins.
type Loss struct {
	Seqs   SeqRange
	Reason string
}

// Frame is one reading of one sensor, or (if Lost.Reason is set) the
// declaration that readings are lost.
type Frame struct {
	ID      string // the sensor
	Name    string
	PlaceID string

	// Timestamp is the moment of sampling, Unix milliseconds UTC. A declared
	// loss has none.
	Timestamp int64

	// Sequenced says that Epoch and Seq are there. The frames of
	// seed-compatible clients have neither: (ID, Timestamp) identifies them.
	// A declared loss is not sequenced: it has Epoch, and the range in Lost.
	Sequenced bool
	Epoch     uint64 // of the agent's buffer, drawn at random when it is made
	Seq       uint64 // counts the sensor's readings in the epoch, from 0, without a gap

	Payload Payload
	Raw     Payload // what the chip measured, where Payload has another value or none
	Faults  Faults
	Clock   Clock // of Timestamp
	Lost    Loss
}

// IsLoss reports whether the frame declares a loss.
func (f *Frame) IsLoss() bool { return f.Lost.Reason != "" }
