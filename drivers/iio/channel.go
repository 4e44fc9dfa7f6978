package iio

import (
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"path"

	"github.com/telltale-iot/telltale/drivers"
)

// channel is a device's channel: the files in its directory that begin with its name.
type channel struct {
	root      fs.FS
	dir, name string
}

// attribute returns the number in the channel's file of that name, and its digits.
func (c channel) attribute(name string) (*big.Rat, uint32, error) {
	return c.file(c.name + "_" + name)
}

func (c channel) file(name string) (*big.Rat, uint32, error) {
	text, err := fs.ReadFile(c.root, path.Join(c.dir, name))
	if err != nil {
		return nil, 0, err
	}
	value, digits, err := parse(string(text))
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", name, err)
	}
	return value, digits, nil
}

// scaled returns (raw + offset) x scale, of which offset and scale may also be those of
// all channels that share a name. Without an offset it is 0; without a scale the unit
// is unknown, and the error a drivers.ErrWrongChip.
func (c channel) scaled(raw *big.Rat, shared string) (*big.Rat, error) {
	offset, err := c.own("offset", shared)
	switch {
	case err == nil:
		raw = new(big.Rat).Add(raw, offset)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	scale, err := c.own("scale", shared)
	switch {
	case err == nil:
		return scale.Mul(scale, raw), nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %s_raw has no scale", drivers.ErrWrongChip, c.name)
	default:
		return nil, err
	}
}

// own returns the channel's attribute of that name, or else the shared one.
func (c channel) own(name, shared string) (*big.Rat, error) {
	value, _, err := c.attribute(name)
	if errors.Is(err, fs.ErrNotExist) {
		value, _, err = c.file(shared + "_" + name)
	}
	return value, err
}
