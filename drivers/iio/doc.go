// Package iio reads sensors that the Linux kernel drives: those of its industrial I/O
// subsystem, and the temperature and humidity of its hardware monitoring. So a DHT22
// on a GPIO, a 1-Wire thermometer with a hwmon driver, or a HAT with a device tree
// overlay is a chip like those that this folder's other packages drive.
//
// # How it measures
//
// Each reading looks the device up by its name, under /sys/bus/iio/devices and then
// /sys/class/hwmon, and reads the attributes of what it is to measure. Nothing is
// remembered: the kernel numbers its devices as they come, so the number of one that
// went away and came back may be another chip's now. Nothing is written either.
//
// Reading an attribute makes most of the kernel's drivers measure, and takes as long
// as that. No context can end it. Some give a value of a moment ago instead: dht11 of
// up to two seconds, and so does aht10.
//
// # Units
//
// IIO's <channel>_input is in the unit of the ABI: milli degree Celsius, milli
// percent, kilopascal or lux. Without it the value is (_raw + _offset) x _scale.
// Both are decimal fractions, in text, and so is what is computed of them: the result
// is exact until it is rounded to the nearest unit. hwmon's temp1_input and
// humidity1_input are in milli degree Celsius and milli percent. A device's word is
// the digits of what was read first, _raw or _input.
//
// # Errors
//
// The kernel's errno is kept: EIO, ENXIO or EREMOTEIO from the bus, ETIMEDOUT, as from
// a DHT22 that does not answer, ENODATA. A device that is not there is ENODEV.
//
// What the chip is specified for is not known here. Humidity a little beyond 0 or
// 100 % is taken for that limit: Sensirion's formulas give -6 to 119 % and their
// datasheets say to clip it, which the kernel does not.
//
// # Sources
//
//   - Linux, Documentation/ABI/testing/sysfs-bus-iio
//   - Linux, Documentation/ABI/testing/sysfs-class-hwmon
//
// # Traps
//
//   - Two chips of a kind have the same name. [Options] take the kernel's name of an
//     I2C device, too, such as 1-0076: bus 1, address 0x76.
//   - Not every driver keeps to the ABI: the scale of veml6030 was its gain (until commit
//     22eaca4283b2), the temperature of st_pressure in degree Celsius (until
//     d43a41152f8e, of 2016). Where there is an _input, it is what counts.
//   - A device can have a _raw without a _scale. Its unit is then unknown.
package iio
