package sample

import (
	"fmt"
	"time"
)

// leastRepeats is how many readings in a row must have one word before a converter
// is held to be stuck, however long that takes.
const leastRepeats = 10

// Converter watches the words that a chip's converter gives for one measure. Noise
// moves the lowest bits of one that works; a word that stays the same for long is
// that of a converter that is stuck, or of a register that is not written any more.
type Converter struct {
	StuckAfter time.Duration // how long one word is believed; 0: for ever

	word    uint32
	since   time.Time // of the first reading with it
	repeats int       // readings with it
}

// Check takes the word of one more reading, at a time by the monotonic clock. The
// error, a [FaultError], says that the converter is stuck; it goes on to be until
// the word changes.
func (c *Converter) Check(word uint32, at time.Time) error {
	if c.repeats == 0 || word != c.word {
		c.word, c.since, c.repeats = word, at, 0
	}
	c.repeats++
	age := at.Sub(c.since)
	if c.StuckAfter == 0 || c.repeats < leastRepeats || age < c.StuckAfter {
		return nil
	}
	return &FaultError{Stuck, fmt.Errorf("the chip gives the same word, %#x, since %v and %d readings", word, age, c.repeats)}
}
