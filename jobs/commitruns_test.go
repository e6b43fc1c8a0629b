package jobs_test

import (
	"fmt"
	"testing"
)

func TestStrangersKeepNobodyFromACommit(t *testing.T) {
	w := newTown(t)
	w.replica("one")
	for n := range 55 {
		e := w.pull(100+n, "a", 77)
		e.Sender = eve
		w.deliver(fmt.Sprintf("guid-stranger-%d", n), e)
		w.finished(fmt.Sprintf("guid-stranger-%d", n))
	}
	w.deliver("guid-own", w.pull(7, "a", 5))
	run := w.finished("guid-own")
	others, stands, err := w.planner().Siblings(t.Context(), run.RunInfo)
	if err != nil || !stands || len(others) != 49 {
		t.Errorf("stands %t beside %d, %v", stands, len(others), err)
	}
}
