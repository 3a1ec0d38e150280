package cage

import "fmt"

// String tells the event in words.
func (e Event) String() string { return fmt.Sprintf("event of kind %d", e.Kind) }
