package sign

import (
	"crypto/rand"
	"fmt"
	"testing"
)

func BenchmarkVerify(b *testing.B) {
	k, msg := key(1), make([]byte, 192)
	s := k.Sign(msg)
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			if !Verify(k.Public(), msg, s) {
				b.Fatal("not valid")
			}
		}
	})
	for _, n := range []int{1, 3, 11, 32, 128, 256, 512} {
		for _, keys := range []int{16, n} {
			if keys > n || keys == 16 && n < 32 {
				continue
			}
			var list []member
			var msgs [][]byte
			for i := range n {
				k := FromSeed(append(make([]byte, 30), byte(i%keys>>8), byte(i%keys)))
				m := make([]byte, 192)
				rand.Read(m)
				msgs = append(msgs, m)
				list = append(list, member{key: k.Public(), sig: k.Sign(m)})
			}
			b.Run(fmt.Sprintf("batch of %d by %d keys", n, keys), func(b *testing.B) {
				for b.Loop() {
					batch := NewBatch()
					for i := range list {
						batch.Add(list[i].key, msgs[i], list[i].sig)
					}
					if !batch.Verify() {
						b.Fatal("not valid")
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/signature")
			})
		}
	}
}
