package web

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

// A Check is one thing that must work for this replica to be sent traffic.
type Check struct {
	Name string // shown: "queue", "GitHub App"
	// Ask returns nil when it works. It must heed ctx, which ends after 2 s.
	Ask func(ctx context.Context) error
}

const checkTimeout = 2 * time.Second

// health remembers what failed, so that only changes are logged.
type health struct {
	mu      sync.Mutex
	failing map[string]bool
}

// healthz says that the process answers.
func (s *Server) healthz(c echo.Context) error { return c.String(http.StatusOK, "ok\n") }

// readyz asks all checks at once and answers 503 when one fails. It names checks only; causes are logged.
func (s *Server) readyz(c echo.Context) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), checkTimeout)
	defer cancel()
	results := make([]error, len(s.o.Checks))
	var wg sync.WaitGroup
	for i, check := range s.o.Checks {
		wg.Go(func() { results[i] = check.Ask(ctx) })
	}
	wg.Wait()
	status := http.StatusOK
	var b strings.Builder
	for i, check := range s.o.Checks {
		word := "ok"
		if results[i] != nil {
			word, status = "failing", http.StatusServiceUnavailable
		}
		s.noteCheck(check.Name, results[i])
		fmt.Fprintf(&b, "%s: %s\n", check.Name, word)
	}
	if status == http.StatusOK {
		b.WriteString("ready\n")
	}
	return c.String(status, b.String())
}

func (s *Server) noteCheck(name string, err error) {
	s.health.mu.Lock()
	defer s.health.mu.Unlock()
	was := s.health.failing[name]
	switch {
	case err != nil && !was:
		s.o.Log.Warn("not ready", "check", name, "error", err)
	case err == nil && was:
		s.o.Log.Info("ready again", "check", name)
	}
	if s.health.failing == nil {
		s.health.failing = map[string]bool{}
	}
	s.health.failing[name] = err != nil
}
