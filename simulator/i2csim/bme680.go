package i2csim

import (
	"encoding/binary"
	"math/rand/v2"
	"time"
)

// Registers (BME680 data sheet, table 16). ID and reset are a BME280's.
const (
	bme680HeatVal    = 0x00 // calibration of the gas heater
	bme680HeatRange  = 0x02
	bme680SwitchErr  = 0x04
	bme680Status     = 0x1D
	bme680Data       = 0x1F // pressure, temperature, humidity, to 0x26
	bme680GasR       = 0x2A // and 0x2B
	bme680Control    = 0x50 // to 0x75
	bme680ResHeat    = 0x5A
	bme680GasWait    = 0x64
	bme680CtrlGas0   = 0x70
	bme680CtrlGas1   = 0x71
	bme680CtrlHum    = 0x72
	bme680CtrlMeas   = 0x74
	bme680Config     = 0x75
	bme680Coeff1     = 0x8A // calibration, to 0xA0
	bme680Coeff2     = 0xE1 // and to 0xEE
	bme680ControlEnd = bme680Config + 1
)

const (
	bme680NewData      = 1 << 7
	bme680GasMeasuring = 1 << 6
	bme680Measuring    = 1 << 5

	bme680HeatOff  = 1 << 3
	bme680RunGas   = 1 << 4
	bme680GasValid = 1 << 5
	bme680HeatStab = 1 << 4

	// bme680Warm is how long the heater takes to its temperature (page 19).
	bme680Warm = 30 * time.Millisecond
)

// bme680Bits returns the bits of a control register that are there.
func bme680Bits(register byte) byte {
	switch r := register; {
	case r < bme680GasWait+10:
		return 0xFF // idac_heat, res_heat and gas_wait of ten set-points
	case r == bme680CtrlGas0:
		return bme680HeatOff
	case r == bme680CtrlGas1:
		return bme680RunGas | 0b1111
	case r == bme680CtrlHum:
		return 1<<6 | 0b111
	case r == bme680CtrlMeas:
		return 0xFF
	case r == bme680Config:
		return 0b111_01
	}
	return 0
}

// BME680 is an emulated Bosch BME680. It has been powered for long when it is
// made. With its IIR filter on, its data are a mean of the last conversion and
// those before. It is safe for concurrent use.
type BME680 struct {
	bosch
	calibration bme680Words
	gas         uint16 // what the gas ADC gives, as it is in 0x2A and 0x2B, without flags

	registers [bme680ControlEnd - bme680Control]byte
	gasFrom   time.Time // of the measurement that runs: gas is the last of it
	status    byte      // of the last measurement: new data and index
	data      [8]byte
	gasR      [2]byte
}

// NewBME680 returns a BME680 in sleep mode.
func NewBME680(o ChipOptions) (*BME680, error) {
	r := rand.New(rand.NewPCG(o.Seed, 0x0b3e680))
	c := &BME680{calibration: newBME680Words(r)}
	c.bosch = bosch{
		sensor: c, width: 20, put: put20, modeByte: &c.registers[bme680CtrlMeas-bme680Control],
	}
	if err := c.setUp("bme680", o, c); err != nil {
		return nil, err
	}
	c.gas = uint16(300+r.IntN(400))<<6 | uint16(5+r.IntN(5))
	c.image[regID] = 0x61
	c.calibration.store(&c.image)
	return c, nil
}

func (c *BME680) get(register byte, now time.Time) byte {
	switch r := register; {
	case r == bme680Status:
		s := c.status
		if c.measuring(now) {
			s |= bme680Measuring
			if c.runsGas() && !now.Before(c.gasFrom) {
				s |= bme680GasMeasuring
			}
		}
		return s
	case r >= bme680Data && int(r) < bme680Data+len(c.data):
		return c.data[r-bme680Data]
	case r == bme680GasR || r == bme680GasR+1:
		return c.gasR[r-bme680GasR]
	case r >= bme680Control && r < bme680ControlEnd:
		return c.register(r)
	case now.Before(c.busyTill) && r != regID:
		return 0 // the calibration is not there yet
	default:
		return c.image[r]
	}
}

func (c *BME680) set(register, value byte, now time.Time) {
	switch r := register; {
	case r == regReset:
		if value == resetWord {
			c.softReset(now)
		}
	case r < bme680Control || r >= bme680ControlEnd || c.pending != nil:
		// No such register, or a mode change is to be carried out first (3.1).
	case r == bme680CtrlMeas:
		if value&modeMask != modeForced {
			value &^= modeMask // nothing else measures
		}
		if c.mode() == modeSleep {
			c.control(value, now)
		} else {
			c.pending = &value
		}
	default:
		c.registers[r-bme680Control] = value & bme680Bits(r)
		if r == bme680Config {
			c.resetFilter()
		}
	}
}

func (c *BME680) resetRegisters() {
	c.registers = [len(c.registers)]byte{}
	c.status, c.data, c.gasR = 0, skipped, [2]byte{}
}

func (c *BME680) begin(at time.Time) {
	c.status = 0
	c.start = at
	c.gasFrom = at.Add(c.duration())
	c.end = c.gasFrom.Add(c.gasDuration())
}

// period is none: there is no normal mode.
func (c *BME680) period() time.Duration { return 0 }

func (c *BME680) register(r byte) byte { return c.registers[r-bme680Control] }

func (c *BME680) runsGas() bool { return c.register(bme680CtrlGas1)&bme680RunGas != 0 }

// setPoint returns which of the ten heater set-points is in use.
func (c *BME680) setPoint() byte { return min(c.register(bme680CtrlGas1)&0b1111, 9) }

// convert ends the measurement from start to end.
func (c *BME680) convert() {
	c.data = skipped
	meas := c.register(bme680CtrlMeas)
	e, rawT := c.sample(c.data[:], c.resolution(meas>>2&0b111), c.resolution(meas>>5))
	if c.register(bme680CtrlHum)&0b111 != 0 {
		binary.BigEndian.PutUint16(c.data[6:], uint16(c.calibration.rawHumidity(e, rawT)))
	}
	c.status = bme680NewData | c.setPoint()
	c.gasR = [2]byte{}
	if c.runsGas() {
		binary.BigEndian.PutUint16(c.gasR[:], c.gas)
		c.gasR[1] |= bme680GasValid
		if c.register(bme680CtrlGas0)&bme680HeatOff == 0 && c.heatingTime() >= bme680Warm &&
			c.register(bme680ResHeat+c.setPoint()) != 0 {
			c.gasR[1] |= bme680HeatStab
		}
	}
}

func (c *BME680) celsius(rawT uint32) float64 { return c.calibration.celsius(rawT) }

func (c *BME680) pascals(rawP, rawT uint32) float64 {
	return c.calibration.pascals(rawP, c.calibration.celsius(rawT))
}

// coefficient returns by what part a sample moves the IIR filter: one more than
// the data sheet's coefficient (5.3.2.4), 1 for off.
func (c *BME680) coefficient() float64 {
	return float64(int(1) << (c.register(bme680Config) >> 2))
}

// What the parts of a measurement take. The data sheet does not say; this is
// what Bosch's own driver waits for (BME68x_SensorAPI, bme68x_get_meas_dur),
// whatever Timing is.
const (
	bme680Wake   = time.Millisecond
	bme680Sample = 1963 * time.Microsecond
	bme680Switch = 477 * time.Microsecond
)

// duration returns how long temperature, pressure and humidity take.
func (c *BME680) duration() time.Duration {
	meas := c.register(bme680CtrlMeas)
	n := samples(meas>>5) + samples(meas>>2&0b111) + samples(c.register(bme680CtrlHum)&0b111)
	return bme680Wake + time.Duration(n)*bme680Sample + 4*bme680Switch
}

// gasDuration returns how long the gas measurement takes, which has its place
// even if it is not made (5.3.5.5).
func (c *BME680) gasDuration() time.Duration {
	d := 5 * bme680Switch
	if c.runsGas() {
		d += c.heatingTime()
	}
	return d
}

// heatingTime returns the time of the set-point in use (5.3.3): milliseconds
// in the low six bits, a power of four to multiply them in the high two.
func (c *BME680) heatingTime() time.Duration {
	w := c.register(bme680GasWait + c.setPoint())
	return time.Duration(w&0x3F) * time.Millisecond << (2 * (w >> 6))
}

// bme680Words are the trimming words (3.3).
type bme680Words struct {
	T1         uint16
	T2         int16
	T3         int8
	P1         uint16
	P2         int16
	P3         int8
	P4, P5     int16
	P6, P7     int8
	P8, P9     int16
	P10        uint8
	H1, H2     uint16 // 12 bits
	H3, H4, H5 int8
	H6         uint8
	H7         int8
	G1         int8
	G2         int16
	G3         int8
	heatVal    int8
	heatRange  uint8 // 2 bits
	switchErr  int8  // 4 bits
}

// newBME680Words draws the words of one chip. They are spread as those that
// owners of seven chips have published.
func newBME680Words(r *rand.Rand) bme680Words {
	between := func(lo, hi int) int { return lo + r.IntN(hi-lo+1) }
	return bme680Words{
		T1: uint16(between(25900, 26250)), T2: int16(between(26250, 26700)), T3: 3,
		P1: uint16(between(35000, 37450)), P2: int16(between(-10450, -10150)), P3: 88,
		P4: int16(between(4800, 10500)), P5: int16(between(-310, -40)), P6: 30, P7: int8(between(20, 65)),
		P8: int16(between(-5200, 0)), P9: int16(between(-3500, -1550)), P10: 30,
		H1: uint16(between(715, 885)), H2: uint16(between(985, 1025)), H3: 0, H4: 45, H5: 20, H6: 120, H7: -100,
		G1: int8(between(-75, -30)), G2: int16(between(-9100, -5700)), G3: 18,
		heatVal: int8(between(30, 50)), heatRange: 1, switchErr: int8(between(0, 2)),
	}
}

// store writes the words where Bosch's driver finds them.
func (w *bme680Words) store(registers *[256]byte) {
	low := registers[bme680Coeff1:]
	binary.LittleEndian.PutUint16(low[0x00:], uint16(w.T2))
	low[0x02] = byte(w.T3)
	binary.LittleEndian.PutUint16(low[0x04:], w.P1)
	binary.LittleEndian.PutUint16(low[0x06:], uint16(w.P2))
	low[0x08] = byte(w.P3)
	binary.LittleEndian.PutUint16(low[0x0A:], uint16(w.P4))
	binary.LittleEndian.PutUint16(low[0x0C:], uint16(w.P5))
	low[0x0E], low[0x0F] = byte(w.P7), byte(w.P6) // in this order
	binary.LittleEndian.PutUint16(low[0x12:], uint16(w.P8))
	binary.LittleEndian.PutUint16(low[0x14:], uint16(w.P9))
	low[0x16] = w.P10

	high := registers[bme680Coeff2:]
	// 12 bits each: of the byte that they share H1 has the low half.
	high[0x0], high[0x1], high[0x2] = byte(w.H2>>4), byte(w.H2<<4)|byte(w.H1&0x0F), byte(w.H1>>4)
	high[0x3], high[0x4], high[0x5] = byte(w.H3), byte(w.H4), byte(w.H5)
	high[0x6], high[0x7] = w.H6, byte(w.H7)
	binary.LittleEndian.PutUint16(high[0x8:], w.T1)
	binary.LittleEndian.PutUint16(high[0xA:], uint16(w.G2))
	high[0xC], high[0xD] = byte(w.G1), byte(w.G3)

	registers[bme680HeatVal] = byte(w.heatVal)
	registers[bme680HeatRange] = w.heatRange << 4
	registers[bme680SwitchErr] = byte(w.switchErr) << 4
}

// celsius returns the temperature (3.3.1).
func (w *bme680Words) celsius(raw uint32) float64 {
	x := float64(raw)/16384 - float64(w.T1)/1024
	return (x*float64(w.T2) + x*x/4*float64(w.T3)) / 5120
}

// pascals returns the pressure at a temperature (3.3.2).
func (w *bme680Words) pascals(raw uint32, celsius float64) float64 {
	u := celsius*5120/2 - 64000
	offset := (u*u*float64(w.P6)/131072+u*float64(w.P5)*2)/4 + float64(w.P4)*65536
	slope := (u*u*float64(w.P3)/16384 + u*float64(w.P2)) / 524288
	p := (1048576 - float64(raw) - offset/4096) * 6250 / ((1 + slope/32768) * float64(w.P1))
	cubic := p / 256 * p / 256 * p / 256 * float64(w.P10) / 131072
	return p + (p*p*float64(w.P9)/2147483648+p*float64(w.P8)/32768+cubic+float64(w.P7)*128)/16
}

// percent returns the relative humidity at a temperature (3.3.3), without the
// limits of 0 and 100, so that it is strictly monotonic.
func (w *bme680Words) percent(raw uint32, celsius float64) float64 {
	h := float64(raw) - float64(w.H1)*16 - float64(w.H3)/2*celsius
	h *= float64(w.H2) / 262144 * (1 + float64(w.H4)/16384*celsius + float64(w.H5)/1048576*celsius*celsius)
	return h + (float64(w.H6)/16384+float64(w.H7)/2097152*celsius)*h*h
}

// rawHumidity returns the word whose humidity is nearest to e's, at the
// temperature that the word rawT says.
func (w *bme680Words) rawHumidity(e Environment, rawT uint32) uint32 {
	celsius := w.celsius(rawT)
	return nearest(16, 16, e.percent(), func(raw uint32) float64 { return w.percent(raw, celsius) })
}
