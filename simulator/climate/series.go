package climate

import (
	"bytes"
	_ "embed" // for the office's series
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"periph.io/x/conn/v3/physic"

	"github.com/telltale-iot/telltale/simulator/i2csim"
)

// row is one moment of a series.
type row struct {
	at          time.Duration // since the first row
	temperature physic.Temperature
	humidity    physic.RelativeHumidity
	light       i2csim.Illuminance
}

// Series is a recording of temperature, humidity and light. It is immutable.
type Series struct {
	start time.Time
	rows  []row
}

// ParseError says where a series is wrong, and what was expected there.
type ParseError struct {
	Name         string // of the file
	Line, Column int    // in it, from 1; Column counts bytes, 0 is the whole line
	Want         string
	Err          error // the CSV reader's, if it was the one to complain
}

// Error returns the place and what was expected there.
func (e *ParseError) Error() string {
	place := fmt.Sprintf("%s:%d", e.Name, e.Line)
	if e.Column > 0 {
		place += ":" + strconv.Itoa(e.Column)
	}
	return place + ": " + e.Want
}

// Unwrap returns e.Err.
func (e *ParseError) Unwrap() error { return e.Err }

// columns are those that a series must have, in this order in code. Their
// ranges are those that the chips can measure.
var columns = [...]struct {
	name     string
	min, max float64
}{
	{name: "Date"},
	{"Temperature", -40, 85},
	{"Humidity", 0, 100},
	{"Light", 0, 100_000},
}

const dateLayout = "2006-01-02 15:04:05"

// maxSpan keeps a series' times within a Duration.
const maxSpan = 100 * 365 * 24 * time.Hour

// ParseCSV reads a series: a header and at least two rows. Of the columns, in
// any order, it needs Date ("2015-02-04 17:51:00", ever later), Temperature
// (degree Celsius, -40 to 85), Humidity (percent, 0 to 100) and Light (lux, 0
// to 100000), and ignores others. name stands for the file in errors, which
// are a [*ParseError] unless r itself fails.
func ParseCSV(name string, r io.Reader) (*Series, error) {
	p := parser{name: name, csv: csv.NewReader(r)}
	p.csv.ReuseRecord = true
	header, err := p.read()
	if errors.Is(err, io.EOF) {
		return nil, &ParseError{Name: name, Line: 1, Want: "want a header"}
	}
	if err != nil {
		return nil, err
	}
	if err := p.header(header); err != nil {
		return nil, err
	}
	for {
		record, err := p.read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := p.row(record); err != nil {
			return nil, err
		}
	}
	if len(p.series.rows) < 2 {
		line, _ := p.csv.FieldPos(0)
		return nil, &ParseError{Name: name, Line: line, Want: "want two rows or more"}
	}
	return &p.series, nil
}

type parser struct {
	name   string
	csv    *csv.Reader
	index  [len(columns)]int // of each column in a record
	series Series
}

func (p *parser) read() ([]string, error) {
	record, err := p.csv.Read()
	var syntax *csv.ParseError
	if errors.As(err, &syntax) {
		return nil, &ParseError{Name: p.name, Line: syntax.Line, Column: syntax.Column, Want: syntax.Err.Error(), Err: syntax.Err}
	}
	return record, err
}

// wrong reports the field at an index of the last record.
func (p *parser) wrong(field int, format string, args ...any) error {
	line, column := p.csv.FieldPos(field)
	return &ParseError{Name: p.name, Line: line, Column: column, Want: fmt.Sprintf(format, args...)}
}

func (p *parser) header(record []string) error {
	for i, c := range columns {
		p.index[i] = -1
		for j, name := range record {
			switch {
			case name != c.name:
			case p.index[i] >= 0:
				return p.wrong(j, "want one column %q only", c.name)
			default:
				p.index[i] = j
			}
		}
		if p.index[i] < 0 {
			return &ParseError{Name: p.name, Line: 1, Want: fmt.Sprintf("want a column %q", c.name)}
		}
	}
	return nil
}

func (p *parser) row(record []string) error {
	text := record[p.index[0]]
	at, err := time.Parse(dateLayout, text)
	if err != nil {
		return p.wrong(p.index[0], "Date %q: want a time like %q", text, dateLayout)
	}
	s := &p.series
	if len(s.rows) == 0 {
		s.start = at
	} else if span := at.Sub(s.start); span <= s.rows[len(s.rows)-1].at {
		return p.wrong(p.index[0], "Date %q: want a time after the row before", text)
	} else if span > maxSpan {
		return p.wrong(p.index[0], "Date %q: want a time within 100 years", text)
	}
	var v [len(columns)]float64
	for i := 1; i < len(columns); i++ {
		c, text := columns[i], record[p.index[i]]
		// Written so that NaN, too, is out of range.
		if v[i], err = strconv.ParseFloat(text, 64); err != nil || !(v[i] >= c.min && v[i] <= c.max) {
			return p.wrong(p.index[i], "%s %q: want a number from %g to %g", c.name, text, c.min, c.max)
		}
	}
	s.rows = append(s.rows, row{
		at:          at.Sub(s.start),
		temperature: celsius(v[1]),
		humidity:    percent(v[2]),
		light:       lux(v[3]),
	})
	return nil
}

//go:embed data/occupancy-office.csv
var office []byte

// Office returns the embedded recording of a week in a real office (see
// data/README.md for its authors and licence).
func Office() *Series {
	s, err := ParseCSV("occupancy-office.csv", bytes.NewReader(office))
	if err != nil {
		panic(err) // the file is a part of the program
	}
	return s
}

// Len returns the number of rows.
func (s *Series) Len() int { return len(s.rows) }

// Start returns the time of the first row. Series know no time zone: it is the
// local time, written as UTC.
func (s *Series) Start() time.Time { return s.start }

// Period returns after what time the series begins again when it is repeated:
// its span, and a mean interval from its last row to its first.
func (s *Series) Period() time.Duration {
	span := s.rows[len(s.rows)-1].at
	return span + span/time.Duration(len(s.rows)-1)
}

// celsius, percent, pascals and lux round to periph's units and ours.
func celsius(v float64) physic.Temperature {
	return physic.ZeroCelsius + physic.Temperature(math.Round(v*1e9))*physic.NanoKelvin
}

func percent(v float64) physic.RelativeHumidity {
	return physic.RelativeHumidity(math.Round(v * float64(physic.PercentRH)))
}

func pascals(v float64) physic.Pressure {
	return physic.Pressure(math.Round(v * float64(physic.Pascal)))
}

func lux(v float64) i2csim.Illuminance {
	return i2csim.Illuminance(math.Round(v * float64(i2csim.Lux)))
}
