package disk

import (
	"fmt"
	"io"
	"math/rand/v2"
)

// SectorSize is what a medium writes whole or not at all.
const SectorSize = 512

// Write is one write command.
type Write struct {
	Offset  int64 // in bytes; a multiple of SectorSize, as the length of Data is
	Data    []byte
	Durable bool // on the medium for certain: FUA was asked for
}

// Cut says what becomes of writes that were not flushed when the power goes.
// A durable write always stays, and what stays does so in the order in which it
// was written.
type Cut uint8

// The cuts.
const (
	LoseAll  Cut = iota // nothing had left the cache
	LoseNone            // everything had
	LoseSome            // of each write either all or nothing had, at random
	Tear                // of each sector of each write the same
)

// Cuts returns all of them.
func Cuts() []Cut { return []Cut{LoseAll, LoseNone, LoseSome, Tear} }

func (c Cut) String() string {
	switch c {
	case LoseAll:
		return "lose all"
	case LoseNone:
		return "lose none"
	case LoseSome:
		return "lose some"
	case Tear:
		return "tear"
	}
	return fmt.Sprintf("Cut(%d)", uint8(c))
}

// Apply brings to the medium what the cut leaves of writes that were in the
// cache, and returns how many bytes it lost.
func (c Cut) Apply(medium io.WriterAt, writes []Write, random *rand.Rand) (lost int64, err error) {
	for _, w := range writes {
		part := int64(len(w.Data))
		if c == Tear && !w.Durable {
			part = SectorSize
		}
		for at := int64(0); at < int64(len(w.Data)); at += part {
			if !w.Durable && !c.keeps(random) {
				lost += part
				continue
			}
			if _, err := medium.WriteAt(w.Data[at:at+part], w.Offset+at); err != nil {
				return lost, err
			}
		}
	}
	return lost, nil
}

func (c Cut) keeps(random *rand.Rand) bool {
	switch c {
	case LoseNone:
		return true
	case LoseSome, Tear:
		return random.IntN(2) == 0
	}
	return false
}
