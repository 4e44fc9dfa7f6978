package usb_test

import (
	"bytes"
	"testing"

	"github.com/telltale-iot/telltale/simulator/usb"
)

func TestStandard(t *testing.T) {
	d := usb.Descriptor{Vendor: 0x0403, Product: 0xC631, Version: 0x0105, Class: 0xFF, Manufacturer: "é", Name: "ab"}
	for name, tt := range map[string]struct {
		setup [8]byte
		want  []byte
		err   error
	}{
		"device": {[8]byte{0x80, 6, 0, 1, 0, 0, 64, 0},
			[]byte{18, 1, 0x10, 1, 0, 0, 0, 8, 0x03, 0x04, 0x31, 0xC6, 0x05, 0x01, 1, 2, 0, 1}, nil},
		"its first 8 bytes": {[8]byte{0x80, 6, 0, 1, 0, 0, 8, 0}, []byte{18, 1, 0x10, 1, 0, 0, 0, 8}, nil},
		"configuration": {[8]byte{0x80, 6, 0, 2, 0, 0, 255, 0},
			[]byte{9, 2, 18, 0, 1, 1, 0, 0x80, 50, 9, 4, 0, 0, 0, 0xFF, 0, 0, 0}, nil},
		"languages":         {[8]byte{0x80, 6, 0, 3, 0, 0, 255, 0}, []byte{4, 3, 9, 4}, nil},
		"manufacturer":      {[8]byte{0x80, 6, 1, 3, 9, 4, 255, 0}, []byte{4, 3, 0xE9, 0}, nil},
		"name":              {[8]byte{0x80, 6, 2, 3, 9, 4, 255, 0}, []byte{6, 3, 'a', 0, 'b', 0}, nil},
		"no such string":    {[8]byte{0x80, 6, 3, 3, 9, 4, 255, 0}, nil, usb.ErrStall},
		"no qualifier":      {[8]byte{0x80, 6, 0, 6, 0, 0, 10, 0}, nil, usb.ErrStall},
		"status":            {[8]byte{0x80, 0, 0, 0, 0, 0, 2, 0}, []byte{0, 0}, nil},
		"configuration now": {[8]byte{0x80, 8, 0, 0, 0, 0, 1, 0}, []byte{1}, nil},
		"interface now":     {[8]byte{0x81, 10, 0, 0, 0, 0, 1, 0}, []byte{0}, nil},
		"set configuration": {[8]byte{0x00, 9, 1, 0, 0, 0, 0, 0}, nil, nil},
		"set interface":     {[8]byte{0x01, 11, 0, 0, 0, 0, 0, 0}, nil, nil},
		"synch frame":       {[8]byte{0x82, 12, 0, 0, 0, 0, 2, 0}, nil, usb.ErrStall},
	} {
		got, err := d.Standard(usb.ParseSetup(tt.setup))
		if !bytes.Equal(got, tt.want) || err != tt.err {
			t.Errorf("%s: % x, %v; want % x, %v", name, got, err, tt.want, tt.err)
		}
	}
}

func TestParseSetup(t *testing.T) {
	got := usb.ParseSetup([8]byte{0xC1, 6, 0x34, 0x12, 0x78, 0x56, 0xBC, 0x9A})
	want := usb.Setup{RequestType: 0xC1, Request: 6, Value: 0x1234, Index: 0x5678, Length: 0x9ABC}
	if got != want || !got.In() {
		t.Errorf("ParseSetup = %+v, in %t; want %+v, in", got, got.In(), want)
	}
	if (usb.Setup{RequestType: 0x41}).In() {
		t.Error("0x41 is to the device")
	}
}
