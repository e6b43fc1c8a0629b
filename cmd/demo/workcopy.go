package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/githubapp/githubtest"
)

// A workcopy is a person's clone of a repository, used through the git program as that person would.
type workcopy struct {
	dir  string
	user *githubtest.User
}

// clone makes a working copy.
func (s *stage) clone(ctx context.Context, repo *githubtest.Repository, user *githubtest.User) (*workcopy, error) {
	w := &workcopy{filepath.Join(s.dir, "work-"+user.Login), user}
	if err := os.Mkdir(w.dir, 0o700); err != nil {
		return nil, err
	}
	_, err := w.git(ctx, "clone", "--quiet", repo.CloneURL(user), ".")
	return w, err
}

// git runs git with nothing of this machine's own configuration, and returns what it printed.
func (w *workcopy) git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-c", "http.proxy=", "-c", "init.defaultBranch=main"}, args...)...)
	cmd.Dir = w.dir
	cmd.WaitDelay = 5 * time.Second
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME="+w.user.Login, "GIT_AUTHOR_EMAIL="+w.user.Email(),
		"GIT_COMMITTER_NAME="+w.user.Login, "GIT_COMMITTER_EMAIL="+w.user.Email())
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		var missing *exec.Error
		if errors.As(err, &missing) {
			return "", fmt.Errorf("the demo needs git (on Debian: apt-get install -y git): %w", err)
		}
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(said.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// branch begins a branch at what origin/main is now.
func (w *workcopy) branch(ctx context.Context, name string) error {
	if _, err := w.git(ctx, "fetch", "--quiet", "origin"); err != nil {
		return err
	}
	_, err := w.git(ctx, "checkout", "--quiet", "-B", name, "--no-track", "origin/main")
	return err
}

// push commits everything that changed and pushes the branch that is checked out. It returns the commit.
func (w *workcopy) push(ctx context.Context, message string) (string, error) {
	for _, args := range [][]string{{"add", "--all"}, {"commit", "--quiet", "--message", message}, {"push", "--quiet", "origin", "HEAD"}} {
		if _, err := w.git(ctx, args...); err != nil {
			return "", err
		}
	}
	return w.git(ctx, "rev-parse", "HEAD")
}
