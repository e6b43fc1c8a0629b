package main

import (
	"bufio"
	"context"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ci/slipway/jobs"
	"github.com/slipway-ci/slipway/web"
)

// stepTimeout is how long a step of the story may take, on a machine that is busy with other things.
const stepTimeout = 6 * time.Minute

// follow shows the run that an event on a commit started, one that was not followed before, until it is over and GitHub shows its end.
func (s *stage) follow(ctx context.Context, event, sha string) (web.Run, error) {
	var following sync.WaitGroup
	defer following.Wait()
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	var id string
	err := poll(ctx, "a run to be made of the "+event+" on "+jobs.Abbreviate(sha), func() (bool, error) {
		var list web.RunList
		if err := s.server.ask(ctx, "/runs", &list); err != nil {
			return false, s.server.alive(err)
		}
		for _, r := range list.Runs {
			if r.SHA == sha && r.Event == event && !s.followed[r.ID] {
				id = r.ID
			}
		}
		return id != "", nil
	})
	if err != nil {
		return web.Run{}, err
	}
	s.followed[id] = true
	s.line("run", "%sruns/%s", s.server.url(), id)
	shown := map[string]jobs.JobState{}
	var run web.Run
	err = poll(ctx, "run "+id+" to be over and reported", func() (bool, error) {
		var now web.Run
		if err := s.server.ask(ctx, "/runs/"+id, &now); err != nil {
			return false, s.server.alive(err)
		}
		run = now
		for _, j := range run.Jobs {
			before := shown[j.Name]
			shown[j.Name] = j.State
			if j.Log != "" && (before == "" || before == jobs.JobWaiting || before == jobs.JobQueued || before == jobs.JobOffered) {
				following.Go(func() { s.followLog(ctx, id, j.Name) })
			}
		}
		return run.State.Over() && run.Reported, nil
	})
	if err != nil {
		return run, err
	}
	following.Wait() // the log's last lines come before the verdict
	for _, j := range run.Jobs {
		if j.Log == "" { // a log ends with the same words
			s.line(j.Name, "%s: %s", j.State, web.Plain(j.Summary))
		}
	}
	return run, nil
}

// followLog shows a job's log as it grows. It is for watching only, so an end by an error is no matter.
func (s *stage) followLog(ctx context.Context, run, job string) {
	body, err := s.server.open(ctx, "/runs/"+run+"/jobs/"+job+"/log?follow=true")
	if err != nil {
		s.line(job, "its log can't be followed: %v", err)
		return
	}
	defer body.Close()
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if text := strings.TrimSpace(lines.Text()); text != "" {
			s.line(job, "%s", text)
		}
	}
}

// alive passes over an error of a server that runs: it is asked again. One that has ended answers no more.
func (s *server) alive(err error) error {
	select {
	case <-s.exited:
		return err
	default:
		return nil
	}
}
