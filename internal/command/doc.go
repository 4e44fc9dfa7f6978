// Package command is what the mains of telltale's programs have in common: how
// errors end a program, how its log is made and which version it is. It knows
// nothing of what the programs do.
//
// The exit code is 0 for success, 2 for what only the user can put right (a
// flag, an argument, a configuration), and 1 for every other error, so that a
// service manager can restart after the one and stop after the other.
package command
