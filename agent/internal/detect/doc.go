// Package detect finds the chips on an I2C bus, and writes a configuration for
// them.
//
// # What is done on the bus
//
// Of each address that the I2C-bus specification leaves to devices, 0x08 to 0x77
// (UM10204, 3.1.12), one byte is read, as i2cdetect -r of i2c-tools does. What
// acknowledges is looked at by those kinds of chip that can have the address, which
// may write no more than the address of a register. Chips that acknowledge no read
// before a command, as Sensirion's, are asked by one that changes nothing, where such
// a chip can be. An address that a driver of the
// kernel has is left alone. Each transaction is one ioctl, so that none comes between
// the parts of another program's.
package detect
