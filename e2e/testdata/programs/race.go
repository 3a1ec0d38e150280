// Command race has goroutines that race for a lock, a channel and the time.
package main

import (
	"fmt"
	"math/rand"
	"os"
	"runtime"
	"sync"
	"time"
)

func main() {
	var all sync.WaitGroup
	var mu sync.Mutex
	n, c := 0, make(chan int)
	for i := range 8 {
		all.Go(func() {
			for range 300 {
				mu.Lock()
				n++
				mu.Unlock()
			}
			time.Sleep(time.Duration(rand.Intn(1000)) * time.Millisecond)
			c <- i
		})
	}
	for range 8 {
		fmt.Println(<-c, time.Now().UnixNano())
	}
	all.Wait()
	fmt.Println(n, rand.Int(), os.Getpid(), runtime.NumCPU(), map[int]bool{1: true, 2: true, 3: true})
	for k := range map[string]int{"a": 1, "b": 2, "c": 3} {
		fmt.Print(k, " ")
	}
	select {
	case <-time.After(time.Second):
		fmt.Println("late")
	}
}
