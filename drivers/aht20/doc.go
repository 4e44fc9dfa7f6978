// Package aht20 reads Aosong's AHT20 sensor of temperature and humidity over I2C. The
// AHT21, the AHT25 and the DHT20 have the same commands.
//
// # How it measures
//
// At first, and after a reading that failed, the driver resets the chip and sees that
// it is calibrated, which takes a command after some power-ons. From then on a reading
// is two transactions: the command, and after 80 ms one read of the status, both
// results and their checksum, repeated while the status says that the chip is busy.
//
// The chip holds no configuration by which a reset could be told. A status without
// the calibration bit tells one, and so do results that are all zero, which are
// no measurement: the chip is then configured anew and measures again.
//
// The resolution is 100/2^20 %RH and 200/2^20 degree Celsius.
//
// # Source
//
// AHT20 product manual, Aosong (ASAIR), version 1.1 (2020), section 5, and the DHT20 data
// sheet, version 1.0 (May 2021), section 7, which is the clearer text. Versions of the
// manual contradict each other on how many bits each quantity has; 20 and 20 is right.
//
// # Errata and traps
//
//   - The fourth byte holds the low four bits of the humidity and the high four of
//     the temperature.
//   - The manuals write 0x71 to get the status, which is the byte that addresses the
//     chip for a read, and no command. The status is the first byte of any read.
//   - While the chip is busy what it sends besides the status is of before. So the
//     checksum is looked at after the busy bit.
//   - The newer manuals ask for an initialization of registers 0x1B, 0x1C and 0x1E by
//     a routine that they do not print. The older ones have the command 0xBE for it,
//     which is what is used here, as in most drivers.
//   - periph's driver is no base for this one: after a brown-out, which it reports
//     as not initialized, it never initializes the chip again; it does I/O when it
//     is made, has one fixed time to wait that no context ends, and computes in
//     floating point.
package aht20
