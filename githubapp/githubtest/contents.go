package githubtest

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// GitHub's bounds, from its page "REST API endpoints for repository contents".
const (
	maxInlineFile = 1 << 20   // above it the JSON form has no content
	maxRawFile    = 100 << 20 // above it there is nothing
	maxFolder     = 1000      // entries of a listing
)

// entry is one line of git ls-tree.
type entry struct {
	mode, kind, sha, path string
	size                  int
}

func (e entry) name() string { return e.path[strings.LastIndexByte(e.path, '/')+1:] }

// contentType is what GitHub calls the entry.
func (e entry) contentType() string {
	switch {
	case e.kind == "tree":
		return "dir"
	case e.kind == "commit":
		return "submodule"
	case e.mode == "120000":
		return "symlink"
	}
	return "file"
}

func (g gitDir) list(c *call, treeish, path string) ([]entry, error) {
	args := []string{"ls-tree", "-z", "-l", "--full-tree", "--end-of-options", treeish}
	if path != "" {
		args = append(args, "--", ":(literal)"+path)
	}
	out, err := g.run(c.s.done, nil, args...)
	if err != nil {
		return nil, err
	}
	var entries []entry
	for line := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		head, path, found := strings.Cut(line, "\t")
		if fields := strings.Fields(head); found && len(fields) == 4 {
			entries = append(entries, entry{mode: fields[0], kind: fields[1], sha: fields[2], size: number(fields[3], 0), path: path})
		}
	}
	return entries, nil
}

func getContents(c *call) answer {
	r := c.repo
	ref := c.query.Get("ref")
	if ref == "" {
		ref = r.DefaultBranch
	}
	commit := r.resolve(ref)
	if commit == "" {
		return refuse(http.StatusNotFound, "No commit found for the ref "+ref)
	}
	path := strings.Trim(c.params["path"], "/")
	accept := c.r.Header.Get("Accept")
	folder := path == ""
	var found entry
	if !folder {
		entries, err := r.git.list(c, commit, path)
		if err != nil || len(entries) == 0 {
			return notFound()
		}
		found = entries[0]
		folder = found.kind == "tree"
	}
	if folder {
		entries, err := r.git.list(c, commit, path+strings.Repeat("/", min(len(path), 1)))
		if err != nil {
			return notFound()
		}
		entries = entries[:min(len(entries), maxFolder)]
		return ok(shapes(entries, func(e entry) object { return r.entryShape(e, ref) }))
	}
	if found.kind == "commit" {
		shape := r.entryShape(found, ref)
		shape["submodule_git_url"] = "https://example.com/submodule.git"
		return ok(shape)
	}
	if found.size > maxRawFile {
		a := refuse(http.StatusForbidden, "This API returns blobs up to 100 MB in size. The requested blob is too large to fetch via the API, but you can always clone the repository via Git in order to obtain it.")
		a.body.(object)["errors"] = []any{object{"resource": "Blob", "field": "data", "code": "too_large"}}
		return a
	}
	data, err := r.git.run(c.s.done, nil, "cat-file", "blob", found.sha)
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	if strings.Contains(accept, ".raw") {
		return answer{status: http.StatusOK, raw: nonNil(data), header: http.Header{"Content-Type": {"application/vnd.github.raw+json; charset=utf-8"}}}
	}
	shape := r.entryShape(found, ref)
	if found.mode == "120000" {
		shape["target"] = string(data)
		return ok(shape)
	}
	shape["encoding"], shape["content"] = "base64", wrapped(base64.StdEncoding.EncodeToString(data))
	if found.size > maxInlineFile {
		shape["encoding"], shape["content"] = "none", ""
	}
	return ok(shape)
}

func nonNil(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}

// wrapped breaks base64 into lines of 60, as GitHub does.
func wrapped(text string) string {
	var lines strings.Builder
	for len(text) > 60 {
		lines.WriteString(text[:60] + "\n")
		text = text[60:]
	}
	return lines.String() + text + "\n"
}

func (r *Repository) entryShape(e entry, ref string) object {
	path := escapePath(e.path)
	self := r.api("contents/%s?ref=%s", path, url.QueryEscape(ref))
	git := r.api("git/%ss/%s", e.kind, e.sha)
	html := r.html("blob/%s/%s", escapePath(ref), path)
	shape := object{"type": e.contentType(), "name": e.name(), "path": e.path, "sha": e.sha, "size": e.size, "url": self, "git_url": git, "html_url": html,
		"download_url": nil, "_links": object{"self": self, "git": git, "html": html}}
	if e.kind == "blob" {
		shape["download_url"] = r.html("raw/%s/%s", escapePath(ref), path)
	}
	return shape
}

func escapePath(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return strings.Join(parts, "/")
}

func getTree(c *call) answer {
	r := c.repo
	name := c.params["tree_sha"]
	tree := r.git.line(c.s.done, "rev-parse", "--verify", "--quiet", "--end-of-options", name+"^{tree}")
	if tree == "" {
		return notFound()
	}
	args := []string{"ls-tree", "-z", "-l", "--full-tree"}
	if c.query.Get("recursive") != "" {
		args = append(args, "-r", "-t")
	}
	out, err := r.git.run(c.s.done, nil, append(args, tree)...)
	if err != nil {
		return refuse(http.StatusInternalServerError, err.Error())
	}
	const maxEntries = 100_000 // from GitHub's page "REST API endpoints for Git trees"
	entries, truncated := []object{}, false
	for line := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		head, path, found := strings.Cut(line, "\t")
		fields := strings.Fields(head)
		if !found || len(fields) != 4 {
			continue
		}
		if len(entries) == maxEntries {
			truncated = true
			break
		}
		shape := object{"path": path, "mode": fields[0], "type": fields[1], "sha": fields[2]}
		if fields[1] == "blob" {
			shape["size"] = number(fields[3], 0)
		}
		if fields[1] != "commit" {
			shape["url"] = r.api("git/%ss/%s", fields[1], fields[2])
		}
		entries = append(entries, shape)
	}
	return ok(object{"sha": tree, "url": r.api("git/trees/%s", tree), "tree": entries, "truncated": truncated})
}

func getBlob(c *call) answer {
	sha := c.params["file_sha"]
	data, err := c.repo.git.run(c.s.done, nil, "cat-file", "blob", sha)
	if !isSHA(sha) || err != nil {
		return notFound()
	}
	if len(data) > maxRawFile {
		return refuse(http.StatusForbidden, "This API returns blobs up to 100 MB in size.")
	}
	if strings.Contains(c.r.Header.Get("Accept"), ".raw") {
		return answer{status: http.StatusOK, raw: nonNil(data), header: http.Header{"Content-Type": {"application/vnd.github.raw+json; charset=utf-8"}}}
	}
	return ok(object{"sha": sha, "node_id": "B_" + sha, "size": len(data), "url": c.repo.api("git/blobs/%s", sha), "encoding": "base64", "content": wrapped(base64.StdEncoding.EncodeToString(data))})
}

// redirectToArchive answers as GitHub does: with a short-lived address on another host name (here another path), whose
// query carries the right to read.
func redirectToArchive(format string) func(*call) answer {
	return func(c *call) answer {
		ref := c.params["ref"]
		if ref == "" {
			ref = c.repo.DefaultBranch
		}
		sha := c.repo.resolve(ref)
		if sha == "" {
			return notFound()
		}
		location := fmt.Sprintf("%s_codeload/%s/legacy.%s/%s?token=%s", c.s.URL, c.repo.FullName(), format, sha, c.s.archiveTicket(c.repo, sha))
		return answer{status: http.StatusFound, header: http.Header{"Location": {location}, "Content-Type": {"text/html;charset=utf-8"}}}
	}
}
