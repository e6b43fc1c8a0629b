package jobs

// Forgetful lets a test look at what a rehearsal decides with.
func Forgetful(p *Planner) *Planner { return p.forgetful() }
