package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/jobs"
)

// git answers what git says in dir, without the newline at its end.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Stderr = dir, &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}

// fromWorkingCopy makes the event that pushing the working copy's HEAD, or opening a pull request with it, would cause.
// What is not committed counts as changed, so that a file can be tried before it is committed.
func fromWorkingCopy(ctx context.Context, as, base string) (e jobs.Event, dir string, err error) {
	if as != string(jobs.EventPush) && as != string(jobs.EventPullRequest) {
		return e, "", fmt.Errorf("--as %s: it must be push or pull_request", as)
	}
	if base == "" {
		return e, "", errors.New("--base is missing: the commit that the working copy is compared with, such as origin/main")
	}
	if dir, err = git(ctx, ".", "rev-parse", "--show-toplevel"); err != nil {
		return e, "", err
	}
	head, err := git(ctx, dir, "rev-parse", "--verify", "HEAD^{commit}")
	if err != nil {
		return e, "", err
	}
	from, err := git(ctx, dir, "merge-base", "--", base, "HEAD")
	if err != nil {
		return e, "", err
	}
	branch, err := git(ctx, dir, "symbolic-ref", "--quiet", "--short", "HEAD")
	if err != nil {
		return e, "", errors.New("HEAD is on no branch; check out the one you would push")
	}
	message, err := git(ctx, dir, "log", "-1", "--format=%B", head)
	if err != nil {
		return e, "", err
	}
	e = jobs.Event{
		Kind: jobs.EventKind(as), Delivery: "offline-plan", Installation: 1, Repository: origin(ctx, dir),
		Sender: jobs.Actor{ID: 1, Login: "whoever pushes", Type: "User"}, Before: from, After: head, Message: message, Ref: "refs/heads/" + branch,
	}
	if e.Changes, err = changed(ctx, dir, from); err != nil {
		return e, "", err
	}
	if e.Kind == jobs.EventPullRequest {
		target := strings.TrimPrefix(base, "origin/")
		e.PullRequest = &jobs.PullRequest{
			Number: 1, State: "open", Title: message, Author: e.Sender, HeadRef: branch, HeadSHA: head, HeadRepo: e.Repository.ID,
			BaseRef: target, BaseSHA: from,
		}
		e.Action, e.Ref, e.Before, e.After = "synchronize", "", "", ""
	}
	return e, dir, nil
}

// changed lists the files that differ from a commit, those git does not know yet included.
func changed(ctx context.Context, dir, from string) (jobs.Changes, error) {
	tracked, err := git(ctx, dir, "diff", "--name-only", "-z", "--no-renames", from)
	if err != nil {
		return jobs.Changes{}, err
	}
	untracked, err := git(ctx, dir, "ls-files", "--others", "--exclude-standard", "-z")
	if err != nil {
		return jobs.Changes{}, err
	}
	files := strings.FieldsFunc(tracked+"\x00"+untracked, func(r rune) bool { return r == 0 })
	slices.Sort(files)
	return jobs.Changes{Known: true, Files: slices.Compact(files)}, nil
}

// origin says which repository this is, from its remote's address, or else from the folder's name.
func origin(ctx context.Context, dir string) jobs.Repository {
	r := jobs.Repository{ID: 1, Owner: "local", Name: filepath.Base(dir), DefaultBranch: "main"}
	if address, err := git(ctx, dir, "remote", "get-url", "origin"); err == nil {
		if u, err := url.Parse(address); err == nil && u.Scheme != "" {
			address = u.Path
		} else if _, scp, ok := strings.Cut(address, ":"); ok {
			address = scp
		}
		if owner, name := path.Split(strings.TrimSuffix(strings.Trim(address, "/"), ".git")); owner != "" && name != "" {
			r.Owner, r.Name = path.Base(owner), name
		}
	}
	if head, err := git(ctx, dir, "symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD"); err == nil {
		r.DefaultBranch = strings.TrimPrefix(head, "origin/")
	}
	return r
}
