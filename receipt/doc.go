// Package receipt says what was done, and proves it to someone who was not there.
package receipt
