package crc8

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/telltale-iot/telltale/drivers"
)

func TestSum(t *testing.T) {
	for _, tt := range []struct {
		name string
		init byte
		data []byte
		want byte
	}{
		{"Sensirion's example", 0xFF, []byte{0xBE, 0xEF}, 0x92},
		{"HTU21D, first example", 0, []byte{0xDC}, 0x79},
		{"HTU21D, second example", 0, []byte{0x68, 0x3A}, 0x7C},
		{"HTU21D, third example", 0, []byte{0x4E, 0x85}, 0x6B},
		{"the check value of CRC-8/NRSC-5", 0xFF, []byte("123456789"), 0xF7},
		{"nothing", 0xFF, nil, 0xFF},
	} {
		if got := Sum(tt.init, tt.data...); got != tt.want {
			t.Errorf("%s: got %#02x: want %#02x", tt.name, got, tt.want)
		}
	}
}

// A word and its checksum with up to three bits inverted do not belong together,
// nor with a run of up to eight bits that is wrong.
func TestSumDetects(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		init := rapid.Byte().Draw(t, "init")
		word := rapid.Uint16().Draw(t, "word")
		sent := uint32(word)<<8 | uint32(Sum(init, byte(word>>8), byte(word)))

		var wrong uint32
		if rapid.Bool().Draw(t, "a run") {
			wrong = uint32(rapid.ByteMin(1).Draw(t, "bits")) << rapid.IntRange(0, 16).Draw(t, "from")
		} else {
			for _, bit := range rapid.SliceOfNDistinct(rapid.IntRange(0, 23), 1, 3, rapid.ID[int]).Draw(t, "bits") {
				wrong |= 1 << bit
			}
		}
		got := sent ^ wrong
		if Sum(init, byte(got>>16), byte(got>>8)) == byte(got) {
			t.Errorf("%#06x was taken for %#06x", got, sent)
		}
	})
}

func TestWord(t *testing.T) {
	b := []byte{0xBE, 0xEF, 0x92, 0}
	if word, err := Word("result", 0xFF, b); word != 0xBEEF || err != nil {
		t.Errorf("got %#04x, %v: want 0xBEEF", word, err)
	}
	_, err := Word("result", 0, b) // a checksum that starts from another value
	if want := "result be ef 92: wrong checksum"; !errors.Is(err, drivers.ErrCRC) || err.Error() != want {
		t.Errorf("error %v: want %q", err, want)
	}
}
