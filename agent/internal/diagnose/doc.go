// Package diagnose says what on a machine keeps an agent from its work, and what to
// do about it. A check looks and changes nothing.
package diagnose
