// Package hil boots virtual ARM machines on Debian's own kernels, with emulated
// I2C chips behind a real /dev/i2c-N, so that the agent's release binary is
// tested on what it runs on.
//
// [Start] boots a [VM]: QEMU, a kernel, and an initial file system of which the
// only program is the init of cmd/init. Through it the host starts processes in
// the guest, reads and writes its files, mounts its disks, sets its clock. The
// chips are on the host: the guest's kernel reaches them through an emulated
// USB adapter ([tinyusb], [usbredir]). README.md says what that proves and what
// it does not.
//
// Tests use hiltest.Start.
package hil
