// Package disk has disks that lose what was written to them and not flushed,
// as a card or a hard disk does when its power goes.
//
// Killing a virtual machine takes nothing that its programs have written: the
// host still has it. A [Disk] keeps writes in a cache in memory, and a [Cut]
// says what of the cache has reached the medium when the power goes. A program
// that writes and does not flush loses by that what it believed to have.
package disk
