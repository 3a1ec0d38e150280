package enc

import "testing"

// BenchmarkJobLife measures all that a job with r=3 costs a validator's state machine, from the order to the seal, with
// and without the check of the commands' signatures (a ledger checks those in a batch, at the mempool).
func BenchmarkJobLife(b *testing.B) {
	for name, verified := range map[string]bool{"signatures": false, "verified": true} {
		b.Run(name, func(b *testing.B) {
			c := ready(b, 4, 1000)
			salt := uint64(0)
			run := func(cmds ...*Command) {
				b.StopTimer()
				for _, x := range cmds {
					x.verified = verified
				}
				c.at.Height++
				c.at.TimestampMs += 10
				b.StartTimer()
				c.s = c.s.Fork()
				if _, err := c.s.Begin(c.at); err != nil {
					b.Fatal(err)
				}
				for _, x := range cmds {
					if _, err := c.s.Apply(c.at, x); err != nil {
						b.Fatal(err)
					}
				}
				c.s.Root()
			}
			for b.Loop() {
				b.StopTimer()
				salt++
				p := testJob(0, 3, 2)
				copy(p.Salt[:], be64(salt))
				submit := c.cmd(c.client, p)
				b.StartTimer()
				run(submit)
				run()
				run()
				b.StopTimer()
				j := c.job(c.id4(p))
				var commits, reveals []*Command
				for _, who := range part(j) {
					commits, reveals = append(commits, c.commitFor(j, who, "42")), append(reveals, c.revealFor(j, who, "42"))
				}
				b.StartTimer()
				run(commits...)
				run(reveals...)
				if c.job(j.ID).Status != StatusSealed {
					b.Fatal("not sealed")
				}
			}
		})
	}
}
